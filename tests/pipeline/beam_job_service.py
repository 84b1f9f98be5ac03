"""Beam's job service with several workers a job: `python beam_job_service.py PORT WORKERS`.

Started as Beam starts it, the service asks the pool for one worker a job.
"""

import sys

from apache_beam.runners.portability import local_job_service, local_job_service_main
from apache_beam.runners.portability.fn_api_runner import fn_runner

PORT, WORKERS = map(int, sys.argv[1:])


class SeveralWorkers(fn_runner.FnApiRunner):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._num_workers = WORKERS


local_job_service.fn_runner.FnApiRunner = SeveralWorkers
local_job_service_main.run(["beam_job_service", f"--port={PORT}"][1:])

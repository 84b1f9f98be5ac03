"""Worker processes of Beam on this machine: a run fails when one of them dies.

Beam 2.77 notices it in a thread and goes on waiting for the worker's answer, without end.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers

# Seconds from the end of a worker's channel to the end of its process, at most.
_NOTICED = 30


def fail_with_dead_workers() -> None:
    """Lets every pipeline of this process fail with a worker process that dies; needed once."""
    worker_handlers.SubprocessSdkWorkerHandler.start_worker = _start_worker
    worker_handlers.SubprocessSdkWorkerHandler.stop_worker = _stop_worker


def _start_worker(handler: Any) -> None:
    from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker

    died: list[str] = []
    handler.worker = SubprocessSdkWorker(
        handler._worker_command_line,
        handler.control_address,
        handler.provision_info,
        handler.worker_id,
    )

    def run() -> None:
        try:
            handler.worker.run()
        except RuntimeError as error:
            died.append(
                f"a Beam worker process died ({error}). Where that is 137 it was killed, most "
                "likely for memory: fewer --direct_num_workers, or one process "
                "(--runner=FnApiRunner alone)"
            )
            _answer_for(handler, died[0])

    receive = handler.data_conn.input_elements

    def input_elements(*arguments: Any, **options: Any) -> Iterator[Any]:
        try:
            yield from receive(*arguments, **options)
        except Exception as error:
            # The channel may be seen to end before the process is.
            handler.worker_thread.join(_NOTICED)
            if died:
                raise RuntimeError(died[0]) from error
            raise

    handler.data_conn.input_elements = input_elements
    handler.worker_thread = threading.Thread(name="run_worker", target=run)
    handler.worker_thread.start()


def _stop_worker(handler: Any) -> None:
    # One that has not begun yet, as another died that soon, would wait for its first task.
    handler.control_conn.push(worker_handlers.BeamFnControlServicer._DONE_MARKER)
    handler.worker_thread.join()


def _answer_for(handler: Any, said: str) -> None:
    """Answers with an error what the worker was asked, and what it will be asked."""
    connection, close = handler.control_conn, handler.data_conn.close
    ask = connection.push

    def close_quietly() -> None:
        # It raises that the worker's channel is closed, in place of why.
        with contextlib.suppress(Exception):
            close()

    def refuse(request: Any) -> Any:
        if request is worker_handlers.BeamFnControlServicer._DONE_MARKER:
            return ask(request)
        return worker_handlers.ControlFuture(request.instruction_id, _error(said))

    connection.push = refuse
    handler.data_conn.close = close_quietly
    for future in list(connection._futures_by_id.values()):
        future.set(_error(said))


def _error(said: str) -> Any:
    return beam_fn_api_pb2.InstructionResponse(error=said)

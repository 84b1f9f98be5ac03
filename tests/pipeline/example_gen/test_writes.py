"""ExampleGen writes into its artifact's folder alone, and reads logs that nobody may change."""

import os
import subprocess
import sys
from pathlib import Path

from tests.pipeline.example_gen.small_logs import answer, impression, write_parquet
from tests.pipeline.example_gen.written import files_under

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
import apache_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from pipeline.example_gen.generate import generate_examples
from tests.pipeline.example_gen.small_logs import config

logs, out = sys.argv[1:]
generate_examples(config(), logs, out, lambda: apache_beam.Pipeline(runner=FnApiRunner()))
"""


def test_nothing_outside_the_artifact_is_written(tmp_path: Path) -> None:
    logs, out, home = (tmp_path / name for name in ("logs", "out", "home"))
    home.mkdir()
    rows = [impression(f"r{n}", f"u{n % 3}", item, n) for n in range(12) for item in "ab"]
    write_parquet(logs, rows, [answer("r1", "u1", "a", 2, 2), answer("r9", "u9", "a", 2, 2)])
    before = files_under(logs)
    (home / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(ROOT / "tests" / "written.py"), "program", str(logs), str(out)]
    environ = {**os.environ, "HOME": str(home), "PYTHONPATH": f"{ROOT}{os.pathsep}{home}"}
    environ["TMPDIR"] = str(tmp_path / "out")  # Beam's own temporary files
    out.mkdir()
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    written = [
        line.removeprefix("written: ")
        for line in done.stdout.splitlines()
        if line.startswith("written: ")
    ]
    assert any(path.startswith(f"{out}/") for path in written)
    # Keras and Matplotlib keep caches in the home folder.
    caches = tuple(str(home / name) for name in (".keras", ".cache", ".config"))
    outside = {path for path in written if not path.startswith((str(out), "/dev/", *caches))}
    assert outside == set()
    assert files_under(logs) == before

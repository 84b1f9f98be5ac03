"""A server writes nothing, but for the caches of Keras and Matplotlib in its home folder."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.serving.conftest import free_port, make_predict_request

ROOT = Path(__file__).resolve().parents[2]


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_models_home_and_temporary_folder_stay_as_they_are(
    saved_models: Path, tmp_path: Path
) -> None:
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    environ = {**os.environ, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    models, port, rest = content(saved_models), free_port(), free_port()
    flags = [f"--port={port}", f"--rest_api_port={rest}", f"--model_base_path={saved_models}/half"]
    command = [sys.executable, str(ROOT / "tests" / "written.py"), "serving", *flags]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE) as server:
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(
                make_predict_request("default", x=np.float32([[2.0]])),
                timeout=60,
                wait_for_ready=True,
            )
            assert list(answer.outputs["y"].float_val) == [3.0]
            with pytest.raises(grpc.RpcError):
                stub.Predict(make_predict_request("../../etc", x=np.float32([[2.0]])), timeout=60)
        time.sleep(0.5)
        server.terminate()
        said = server.communicate(timeout=60)[0].decode()
    written = [line for line in said.splitlines() if line.startswith("written: ")]
    caches = tuple(str(tmp_path / "home" / name) for name in (".keras", ".cache", ".config"))
    outside = {line.removeprefix("written: ") for line in written}
    # Whether files can be made is tried out in the temporary folder; nothing stays there.
    allowed = ("/dev/", str(tmp_path / "tmp"), *caches)
    outside = {path for path in outside if not path.startswith(allowed)}
    assert outside == set()
    assert content(saved_models) == models
    assert content(tmp_path / "tmp") == {}

"""Versions come and go under load: policies, hot swap, corrupt and slow versions, config reload."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
)
from tensorflow_serving.config import (
    file_system_storage_path_source_pb2,
    model_server_config_pb2,
)

from serving.errors import ServingError
from serving.model_config import check_model_config
from serving.versions import choose_versions, list_versions
from tests.serving.conftest import Running, make_predict_request
from tests.serving.saved_models import write_warmup

State = get_model_status_pb2.ModelVersionStatus.State
SLATE = {
    "user_id": np.array([b"u"], object),
    "item_id": np.array([[b"c"]], object),
    "duration": np.array([[4.0]], np.float32),
}


def status(running: Running, model: str = "default", **spec: Any) -> Any:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    return running.models.GetModelStatus(request, timeout=10).model_version_status


def states(running: Running, model: str = "default") -> dict[int, str]:
    return {one.version: State.Name(one.state) for one in status(running, model)}


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.02)


def push(source: Path, base_path: Path, version: int) -> None:
    """Put a version into the folder the way a careful pusher does: copy, then rename."""
    shutil.copytree(source, base_path / f".tmp-{version}")
    os.rename(base_path / f".tmp-{version}", base_path / str(version))


def test_status_of_all_one_and_labelled_versions(running: Running) -> None:
    assert [(one.version, one.state) for one in status(running, "slates")] == [
        (2, State.AVAILABLE),
        (1, State.AVAILABLE),
    ]
    assert [one.version for one in status(running, "slates", version=1)] == [1]
    assert [one.version for one in status(running, "slates", label="canary")] == [2]
    assert status(running, "slates")[0].status.error_code == 0


def test_status_of_what_is_not_there(running: Running) -> None:
    for spec, code, text in (
        ({"model": "nobody"}, "NOT_FOUND", "Could not find any versions of model nobody"),
        (
            {"model": "slates", "version": 9},
            "NOT_FOUND",
            "Could not find version 9 of model slates",
        ),
        (
            {"model": "slates", "label": "beta"},
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: beta",
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            status(running, **spec)
        assert (caught.value.code().name, caught.value.details()) == (code, text)
    with pytest.raises(grpc.RpcError) as caught:
        running.models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(), timeout=10)
    assert caught.value.details() == "Missing ModelSpec"


def test_numeric_folders_are_versions_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("1", "002", "10", ".tmp-11", "12.5", "-3", "new", "9" * 30):
        (tmp_path / name).mkdir()
    (tmp_path / "13").write_text("a file")
    assert list_versions(str(tmp_path)) == {
        1: f"{tmp_path}/1",
        2: f"{tmp_path}/002",
        10: f"{tmp_path}/10",
    }


def test_version_policies() -> None:
    found = {1: "a", 5: "b", 7: "c"}
    policy = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig
    policy = policy.ServableVersionPolicy
    assert choose_versions(found, policy(), "m") == {7: "c"}
    assert choose_versions(found, policy(latest={"num_versions": 2}), "m") == {5: "b", 7: "c"}
    assert choose_versions(found, policy(all={}), "m") == found
    assert choose_versions(found, policy(specific={"versions": [1, 6]}), "m") == {1: "a"}
    assert choose_versions({}, policy(), "m") == {}


def test_hot_swap_under_load_loses_no_request(
    start_server: Callable[..., Running], saved_models: Path, base_path: Path
) -> None:
    running = start_server(model_base_path=str(base_path))
    stop = threading.Event()
    seen: list[int] = []
    failures: list[BaseException] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                response = running.prediction.Predict(
                    make_predict_request("default", **SLATE), timeout=10
                )
                weight = {2: 2.0, 4: 2.0}.get(response.model_spec.version.value, 1.0)
                assert list(response.outputs["score"].float_val) == [4.0 * weight]
                seen.append(response.model_spec.version.value)
            except BaseException as error:
                failures.append(error)
                return

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for version, source in ((2, "2"), (3, "1"), (4, "2")):
        push(saved_models / "slates" / source, base_path, version)
        wait_for(
            lambda version=version: (
                states(running)[1] == "END"  # type: ignore[misc]
                and states(running).get(version) == "AVAILABLE"
                and states(running)[version - 1] == "END"
            )
        )
    stop.set()
    for asker in askers:
        asker.join()
    assert failures == []
    assert set(seen) == {1, 2, 3, 4}
    # No request goes back to an older version, but for those that overlap the swap.
    assert seen.index(4) > len(seen) - 1 - seen[::-1].index(1)
    assert states(running) == {4: "AVAILABLE", 3: "END", 2: "END", 1: "END"}


def test_a_request_under_way_keeps_its_version_loaded(
    start_server: Callable[..., Running], saved_models: Path, base_path: Path
) -> None:
    running = start_server(model_base_path=str(base_path))
    with running.server.manager.acquire(make_predict_request("default").model_spec) as servable:
        push(saved_models / "slates" / "2", base_path, 2)
        wait_for(lambda: states(running).get(1) == "UNLOADING")
        feeds = {
            feed: SLATE[name]
            for name, feed in servable.signatures["serving_default"].inputs.items()
        }
        score = servable.signatures["serving_default"].outputs["score"]
        assert servable.engine.run(feeds, [score])[0].tolist() == [[4.0]]
        response = running.prediction.Predict(make_predict_request("default", **SLATE))
        assert response.model_spec.version.value == 2
        assert states(running)[1] == "UNLOADING"
    wait_for(lambda: states(running)[1] == "END")


@pytest.mark.parametrize("kind", ["garbage", "empty folder", "truncated", "bad warm-up"])
def test_a_corrupt_version_leaves_the_old_one_serving(
    start_server: Callable[..., Running], saved_models: Path, base_path: Path, kind: str
) -> None:
    running = start_server(model_base_path=str(base_path))
    bad = base_path.parent / "bad"
    if kind == "empty folder":
        bad.mkdir()
    else:
        shutil.copytree(saved_models / "slates" / "2", bad)
        graph = bad / "saved_model.pb"
        if kind == "garbage":
            graph.write_bytes(b"no model at all")
        elif kind == "truncated":
            graph.write_bytes(graph.read_bytes()[:5000])
        else:
            write_warmup(bad, [make_predict_request(signature="nothing")])
    os.rename(bad, base_path / "2")
    wait_for(lambda: states(running).get(2) == "END")
    failed = status(running, version=2)[0].status
    expected = {
        "garbage": (15, "Can't parse"),
        "truncated": (15, "Can't parse"),
        "empty folder": (5, "Could not find SavedModel .pb or .pbtxt at supplied export"),
        "bad warm-up": (9, 'Serving signature key "nothing" not found.'),
    }[kind]
    assert failed.error_code == expected[0]
    assert expected[1] in failed.error_message
    assert states(running)[1] == "AVAILABLE"
    response = running.prediction.Predict(make_predict_request("default", **SLATE))
    assert response.model_spec.version.value == 1
    # A later good version takes over all the same.
    push(saved_models / "slates" / "2", base_path, 3)
    wait_for(lambda: states(running).get(3) == "AVAILABLE" and states(running)[1] == "END")


def test_a_version_that_becomes_whole_is_loaded_on_a_retry(
    start_server: Callable[..., Running], saved_models: Path, base_path: Path
) -> None:
    running = start_server(
        model_base_path=str(base_path), max_num_load_retries=500, load_retry_interval_micros=50_000
    )
    (base_path / "2").mkdir()
    wait_for(lambda: states(running).get(2) == "LOADING")
    shutil.copytree(saved_models / "slates" / "2", base_path / "2", dirs_exist_ok=True)
    wait_for(lambda: states(running)[2] == "AVAILABLE")


def test_deleting_the_newest_version_goes_back_to_the_one_before(
    start_server: Callable[..., Running], saved_models: Path, base_path: Path
) -> None:
    push(saved_models / "slates" / "2", base_path, 2)
    running = start_server(model_base_path=str(base_path))
    assert states(running) == {2: "AVAILABLE"}
    shutil.rmtree(base_path / "2")
    wait_for(lambda: states(running) == {2: "END", 1: "AVAILABLE"})


def test_a_base_path_that_vanishes_leaves_the_versions_serving(
    start_server: Callable[..., Running], base_path: Path
) -> None:
    running = start_server(model_base_path=str(base_path))
    os.rename(base_path, base_path.parent / "gone")
    time.sleep(1.5)
    assert states(running) == {1: "AVAILABLE"}


def test_files_that_lead_out_of_the_model_folder_are_refused(
    start_server: Callable[..., Running], saved_models: Path, base_path: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not for serving")
    shutil.copytree(saved_models / "slates" / "2", tmp_path / "staged")
    os.symlink(secret, tmp_path / "staged" / "assets.txt")
    running = start_server(model_base_path=str(base_path))
    os.rename(tmp_path / "staged", base_path / "2")
    wait_for(lambda: states(running).get(2) == "END")
    failed = status(running, version=2)[0].status
    assert failed.error_code == grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert "assets.txt is a link that leads out of the model's folder" in failed.error_message


def test_a_version_folder_may_itself_be_a_link(
    start_server: Callable[..., Running], saved_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "linked").mkdir()
    os.symlink(saved_models / "slates" / "2", tmp_path / "linked" / "7")
    running = start_server(model_base_path=str(tmp_path / "linked"))
    assert states(running) == {7: "AVAILABLE"}


def test_warm_up_requests_are_replayed_before_a_version_is_available(
    start_server: Callable[..., Running], base_path: Path
) -> None:
    write_warmup(base_path / "1", [make_predict_request("any model name", **SLATE)] * 2)
    assert states(start_server(model_base_path=str(base_path))) == {1: "AVAILABLE"}


def test_too_many_warm_up_requests_fail_the_load(
    start_server: Callable[..., Running], base_path: Path
) -> None:
    write_warmup(base_path / "1", [make_predict_request(**SLATE)] * 1001)
    with pytest.raises(ServingError, match=r"exceeds the maximum \(1000\)"):
        start_server(model_base_path=str(base_path), max_num_load_retries=0)
    assert states(start_server(model_base_path=str(base_path), enable_model_warmup=False)) == {
        1: "AVAILABLE"
    }


def test_starting_fails_when_a_model_cannot_be_loaded(
    start_server: Callable[..., Running], base_path: Path
) -> None:
    (base_path / "1" / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(
        ServingError,
        match=r"1 servable\(s\) did not become available: \{\{\{name: default version: 1\} due to "
        r"error: DATA_LOSS: Can't parse",
    ):
        start_server(model_base_path=str(base_path), max_num_load_retries=0)


def config(*models: dict[str, Any]) -> model_server_config_pb2.ModelServerConfig:
    made = model_server_config_pb2.ModelServerConfig()
    for model in models:
        made.model_config_list.config.add(**{"model_platform": "tensorflow", **model})
    return made


def reload(running: Running, new: Any, timeout: float = 20) -> Any:
    request = model_management_pb2.ReloadConfigRequest(config=new)
    return running.models.HandleReloadConfigRequest(request, timeout=timeout)


def test_a_canary_from_first_load_to_promotion(
    start_server: Callable[..., Running], saved_models: Path
) -> None:
    path = str(saved_models / "slates")

    def versions(*numbers: int) -> dict[str, Any]:
        return {"specific": {"versions": numbers}}

    running = start_server(model_base_path=path)
    both = {"name": "default", "base_path": path, "model_version_policy": versions(1, 2)}
    # A label cannot point at a version before it is available.
    labelled = {**both, "version_labels": {"stable": 1, "canary": 2}}
    with pytest.raises(grpc.RpcError) as caught:
        reload(running, config(labelled))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == (
        "Request to assign label to version 1 of model default, which is not currently available "
        "for inference"
    )
    assert reload(running, config(both)).status.error_code == 0
    wait_for(lambda: states(running) == {2: "AVAILABLE", 1: "AVAILABLE"})
    reload(running, config(labelled))
    asked = running.prediction.Predict(make_predict_request("default", label="stable", **SLATE))
    assert asked.model_spec.version.value == 1
    # Promote, then retire version 1.
    reload(running, config({**both, "version_labels": {"stable": 2}}))
    asked = running.prediction.Predict(make_predict_request("default", label="stable", **SLATE))
    assert asked.model_spec.version.value == 2
    retired = {**both, "model_version_policy": versions(2), "version_labels": {"stable": 2}}
    reload(running, config(retired))
    wait_for(lambda: states(running) == {2: "AVAILABLE", 1: "END"})


def test_models_are_added_and_removed_by_a_reload(
    start_server: Callable[..., Running], saved_models: Path
) -> None:
    running = start_server(model_base_path=str(saved_models / "slates"))
    half = {"name": "half", "base_path": str(saved_models / "half")}
    reload(running, config(half))
    # The call returns once the new model is available.
    asked = running.prediction.Predict(make_predict_request("half", x=np.float32([[2.0]])))
    assert asked.model_spec.version.value == 123
    wait_for(lambda: states(running) == {2: "END"})
    with pytest.raises(grpc.RpcError) as caught:
        running.prediction.Predict(make_predict_request("default", **SLATE))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_reload_that_waits_in_vain_does_not_block_the_next(
    start_server: Callable[..., Running], saved_models: Path, tmp_path: Path
) -> None:
    slates = {"name": "default", "base_path": str(saved_models / "slates")}
    running = start_server(model_base_path=slates["base_path"])
    missing = {"name": "missing", "base_path": str(tmp_path / "none")}
    with pytest.raises(grpc.RpcError) as caught:
        reload(running, config(slates, missing), timeout=0.5)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert reload(running, config(slates)).status.error_code == 0


def test_an_empty_reload_is_refused(running: Running) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        reload(running, model_server_config_pb2.ModelServerConfig())
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Only ModelConfigList is currently supported" in caught.value.details()


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([{"name": "a", "base_path": "/x"}] * 2, "Illegal to list model a multiple times"),
        (
            [{"name": "a", "base_path": "x"}],
            "Expected model a to have an absolute path or URI; got",
        ),
        (
            [{"name": "a", "base_path": "/x", "model_platform": ""}],
            "Illegal setting neither ModelServerConfig::model_type",
        ),
        (
            [{"name": "a", "base_path": "/x", "model_platform": "torch"}],
            "Model a requests unsupported platform torch",
        ),
        ([{"name": "a", "base_path": "/x", "logging_config": {}}], "not offered by this server"),
    ],
)
def test_a_configuration_that_cannot_be_served_is_refused(
    models: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ServingError, match=message):
        check_model_config(config(*models))


def test_the_configuration_file_is_read_again_when_it_changes(
    start_server: Callable[..., Running], saved_models: Path, tmp_path: Path
) -> None:
    file = tmp_path / "models.config"

    def write(versions: str) -> None:
        file.write_text(
            f'model_config_list {{ config {{ name: "default" model_platform: "tensorflow" '
            f'base_path: "{saved_models / "slates"}" '
            f"model_version_policy {{ specific {{ {versions} }} }} }} }}"
        )

    write("versions: 1")
    running = start_server(model_config_file=str(file), model_config_file_poll_wait_seconds=1)
    assert states(running) == {1: "AVAILABLE"}
    file.write_text("model_config_list { misspelt {} }")
    time.sleep(1.2)
    assert states(running) == {1: "AVAILABLE"}
    write("versions: 2")
    wait_for(lambda: states(running) == {2: "AVAILABLE", 1: "END"})

"""Dynamic batching: who shares a run, what is filled up, and what is refused."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.batching import BatchingEngine, BatchingSettings, read_batching_settings
from serving.errors import ServingError
from tests.serving.conftest import Running, make_predict_request


class Doubling:
    """An engine that doubles x, remembers the batches it ran, and can be held back."""

    name = "fake"
    signatures: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> list[Any]:
        self.gate.wait()
        x = feeds["x"]
        self.batches.append(x)
        if (x < 0).any():
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "negative")
        return [{"y": 2 * x, "sum": np.float32(x.sum()), "row": x[:1]}[name] for name in fetches]

    def close(self) -> None:
        pass


def batching(**settings: Any) -> tuple[Doubling, BatchingEngine]:
    engine = Doubling()
    chosen = BatchingSettings(**{"num_batch_threads": 1, **settings})
    return engine, BatchingEngine(engine, chosen, threading.Semaphore(chosen.num_batch_threads))


def rows(*values: float) -> Any:
    return np.array([[value] for value in values], np.float32)


def ask_together(
    engine: Doubling,
    batcher: BatchingEngine,
    inputs: Sequence[Any],
    fetches: Sequence[str] = ("y",),
) -> list[Future[list[Any]]]:
    """Ask while the engine is busy with another request, so that all that can do share a run."""
    engine.gate.clear()
    pool = ThreadPoolExecutor(len(inputs) + 1)
    busy = pool.submit(batcher.run, {"x": np.zeros((1, 99), np.float32)}, ["y"])
    time.sleep(0.05)
    asked = []
    for one in inputs:
        asked.append(pool.submit(batcher.run, {"x": one}, fetches))
        time.sleep(0.02)
    engine.gate.set()
    busy.result()
    engine.batches.pop(0)
    return asked


def test_requests_that_wait_share_one_run() -> None:
    engine, batcher = batching()
    asked = ask_together(engine, batcher, [rows(1), rows(2, 3), rows(4)])
    assert [one.result()[0].ravel().tolist() for one in asked] == [[2.0], [4.0, 6.0], [8.0]]
    assert [batch.ravel().tolist() for batch in engine.batches] == [[1.0, 2.0, 3.0, 4.0]]


def test_a_request_alone_runs_at_once() -> None:
    engine, batcher = batching()
    assert batcher.run({"x": rows(5)}, ["y"])[0].tolist() == [[10.0]]
    assert len(engine.batches) == 1


def test_only_equal_shapes_share_a_run() -> None:
    engine, batcher = batching()
    inputs = [rows(1), np.ones((1, 2), np.float32), rows(2)]
    asked = ask_together(engine, batcher, inputs)
    assert [one.result()[0].shape for one in asked] == [(1, 1), (1, 2), (1, 1)]
    assert sorted(batch.shape for batch in engine.batches) == [(1, 2), (2, 1)]


def test_padding_lets_different_lengths_share_a_run() -> None:
    engine, batcher = batching(pad_variable_length_inputs=True)
    inputs = [rows(1), np.ones((1, 3), np.float32)]
    asked = ask_together(engine, batcher, inputs)
    assert asked[0].result()[0].tolist() == [[2.0, 0.0, 0.0]]
    assert asked[1].result()[0].tolist() == [[2.0, 2.0, 2.0]]
    assert [batch.shape for batch in engine.batches] == [(2, 3)]


def test_batches_are_filled_up_to_an_allowed_size_with_copies_of_a_row() -> None:
    engine, batcher = batching(max_batch_size=8, allowed_batch_sizes=(2, 4, 8))
    asked = ask_together(engine, batcher, [rows(1), rows(2), rows(3)])
    assert [one.result()[0].tolist() for one in asked] == [[[2.0]], [[4.0]], [[6.0]]]
    assert [batch.ravel().tolist() for batch in engine.batches] == [[1.0, 2.0, 3.0, 3.0]]


def test_a_full_batch_runs_and_the_next_opens() -> None:
    engine, batcher = batching(max_batch_size=2)
    asked = ask_together(engine, batcher, [rows(1), rows(2), rows(3)])
    assert [one.result()[0].tolist() for one in asked] == [[[2.0]], [[4.0]], [[6.0]]]
    assert sorted(len(batch) for batch in engine.batches) == [1, 2]


def test_a_batch_waits_for_company_until_its_timeout() -> None:
    engine, batcher = batching(batch_timeout_micros=300_000, max_batch_size=2)
    started = time.monotonic()
    batcher.run({"x": rows(1)}, ["y"])
    assert time.monotonic() - started >= 0.3
    with ThreadPoolExecutor(2) as pool:
        started = time.monotonic()
        list(pool.map(lambda value: batcher.run({"x": rows(value)}, ["y"]), [1, 2]))
    # Full before the timeout.
    assert time.monotonic() - started < 0.3
    assert [len(batch) for batch in engine.batches] == [1, 2]


def test_the_queue_has_an_end() -> None:
    engine, batcher = batching(max_batch_size=1, max_enqueued_batches=2)
    asked = ask_together(engine, batcher, [rows(1), rows(2), rows(3)])
    with pytest.raises(ServingError, match="is full; currently 2 batches enqueued") as caught:
        asked[2].result()
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert [one.result()[0].tolist() for one in asked[:2]] == [[[2.0]], [[4.0]]]


def test_one_bad_request_does_not_fail_its_neighbours() -> None:
    engine, batcher = batching()
    asked = ask_together(engine, batcher, [rows(1), rows(-1), rows(3)])
    assert asked[0].result()[0].tolist() == [[2.0]]
    with pytest.raises(ServingError, match="negative"):
        asked[1].result()
    assert asked[2].result()[0].tolist() == [[6.0]]


def test_what_cannot_be_batched_is_refused() -> None:
    _, batcher = batching(max_batch_size=2)
    for feeds, text in (
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.float32(1)}, "input tensors must have at least one dimension"),
        ({"x": rows(1), "z": rows(1, 2)}, "must have equal 0th-dimension size"),
        ({"x": rows(1, 2, 3)}, "Task size 3 is larger than maximum input batch size 2"),
    ):
        with pytest.raises(ServingError) as caught:
            batcher.run(feeds, ["y"])
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
        assert text in caught.value.message
    for fetch, text in (
        ("sum", "Batched output tensor has 0 dimensions"),
        ("row", "0th dimension does not equal the sum"),
    ):
        with pytest.raises(ServingError) as caught:
            batcher.run({"x": rows(1, 2)}, [fetch])
        assert caught.value.code == grpc.StatusCode.FAILED_PRECONDITION
        assert text in caught.value.message


def test_large_requests_are_run_in_parts_when_told_so() -> None:
    engine, batcher = batching(max_batch_size=10, max_execution_batch_size=2)
    assert batcher.run({"x": rows(1, 2, 3, 4, 5)}, ["y"])[0].ravel().tolist() == [2, 4, 6, 8, 10]
    assert [len(batch) for batch in engine.batches] == [2, 2, 1]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(5, 8))
def test_every_request_gets_its_own_rows(sizes: list[int], max_batch_size: int) -> None:
    engine, batcher = batching(max_batch_size=max_batch_size, max_enqueued_batches=100)
    inputs = [np.full((size, 1), number, np.float32) for number, size in enumerate(sizes)]
    with ThreadPoolExecutor(len(inputs)) as pool:
        outputs = list(pool.map(lambda x: batcher.run({"x": x}, ["y"])[0], inputs))
    for given_rows, output in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(output, 2 * given_rows)
    assert all(len(batch) <= max_batch_size for batch in engine.batches)
    assert sum(len(batch) for batch in engine.batches) == sum(sizes)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(5, 12), st.booleans())
def test_requests_taken_in_together_get_what_they_would_get_alone(
    sizes: list[int], max_batch_size: int, one_is_bad: bool
) -> None:
    _, batcher = batching(max_batch_size=max_batch_size)
    tasks: list[Any] = [
        ({"x": rows(*(10 * place + row + 1 for row in range(size)))}, ["y"])
        for place, size in enumerate(sizes)
    ]
    if one_is_bad:
        tasks.insert(len(sizes) // 2, ({"x": rows(-1)}, ["y"]))
        tasks.append(({"x": np.float32(1)}, ["y"]))
    together = batcher.run_together(tasks)
    for task, result in zip(tasks, together, strict=True):
        if isinstance(result, Exception):
            with pytest.raises(ServingError, match=re.escape(str(result))):
                batcher.run(*task)
        else:
            assert [one.tolist() for one in result] == [one.tolist() for one in batcher.run(*task)]


def test_requests_taken_in_together_share_runs() -> None:
    engine, batcher = batching(max_batch_size=4, max_enqueued_batches=2, allowed_batch_sizes=(2, 4))
    wide = np.ones((1, 7), np.float32)
    inputs = [rows(1), rows(2, 3), wide, rows(4), rows(5, 6, 7), rows(8), rows(9)]
    results = batcher.run_together([({"x": one}, ["y"]) for one in inputs])
    assert [one.shape for one in engine.batches] == [(4, 1), (4, 1), (2, 7)]
    # Two batches of one kind are all that may wait; what needs a third is refused.
    assert [isinstance(one, ServingError) for one in results] == [False] * 6 + [True]
    assert "queue to which this task was submitted is full" in str(results[-1])


def test_large_requests_taken_in_together_are_run_in_parts() -> None:
    engine, batcher = batching(max_batch_size=4, max_execution_batch_size=2)
    (result,) = batcher.run_together([({"x": rows(1, 2, 3)}, ["y"])])
    assert not isinstance(result, Exception)
    assert result[0].ravel().tolist() == [2.0, 4.0, 6.0]
    assert [len(one) for one in engine.batches] == [2, 1]


def test_parameters_are_read_from_a_text_proto(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text(
        """
        max_batch_size { value: 32 }
        batch_timeout_micros { value: 500 }
        max_enqueued_batches { value: 7 }
        num_batch_threads { value: 3 }
        allowed_batch_sizes: 8
        allowed_batch_sizes: 32
        pad_variable_length_inputs: true
        """
    )
    assert read_batching_settings(str(file)) == BatchingSettings(
        32, 500, 7, 3, (8, 32), pad_variable_length_inputs=True
    )
    assert read_batching_settings("").max_batch_size == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_sise { value: 3 }", "Invalid protobuf file: .*max_batch_sise"),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "must be non-negative; was -1"),
        ("allowed_batch_sizes: [4, 2]", "monotonically increasing"),
        ("allowed_batch_sizes: [2, 4] max_batch_size { value: 8 }", "last was 4; expected 8"),
        ("enable_large_batch_splitting { value: true }", "needs max_execution_batch_size"),
    ],
)
def test_wrong_parameters_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "batching.config"
    file.write_text(text)
    with pytest.raises(ServingError, match=message):
        read_batching_settings(str(file))


@pytest.mark.parametrize("micros", [0, 2000])
def test_a_server_with_batching_answers_as_one_without(
    start_server: Callable[..., Running], saved_models: Path, tmp_path: Path, micros: int
) -> None:
    file = tmp_path / "batching.config"
    file.write_text(f"max_batch_size {{ value: 16 }} batch_timeout_micros {{ value: {micros} }}")
    running = start_server(
        model_base_path=f"{saved_models}/slates",
        enable_batching=True,
        batching_parameters_file=str(file),
    )

    def ask(number: int) -> list[float]:
        request = make_predict_request(
            "default",
            user_id=np.array([b"u"], object),
            item_id=np.array([[b"a", b"c"]], object),
            duration=np.float32([[number, 0.5]]),
        )
        score = running.prediction.Predict(request, timeout=20).outputs["score"]
        return list(score.float_val)

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(200)))
    assert answers == [[2.0 * number + 10, 1.0] for number in range(200)]
    scalar = make_predict_request("default", "scalar", x=np.float32(1), n=np.int64(1))
    with pytest.raises(grpc.RpcError) as caught:
        running.prediction.Predict(scalar, timeout=10)
    assert "input tensors must have at least one dimension" in caught.value.details()

"""Runs requests that arrive together as one batch of the graph.

The thread of a batch's first request leads it: it waits for company as long as the parameters say
and for a free slot to run in, and then runs the batch for all who joined. No request is handed to
another thread and back, which for a small model costs more than the model. Requests that one thread
took in together it runs together.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from serving.errors import ServingError, failed_precondition, invalid
from serving.servable import Engine
from serving.tensors import Array
from serving.text_protos import BatchingParameters, parse_text_file


@dataclass(frozen=True)
class BatchingSettings:
    """TensorFlow Serving's batching parameters, with its defaults.

    Attributes:
        max_batch_size: most rows of a batch, and of a request.
        batch_timeout_micros: how long a batch may wait for more requests.
        max_enqueued_batches: how many batches of one kind may wait; more are refused.
        num_batch_threads: how many batches run at a time.
        allowed_batch_sizes: sizes to which batches are filled up with copies of a row, so that the
            graph sees few different shapes.
        pad_variable_length_inputs: pad the requests of a batch to the largest of each dimension
            rather than batching equal shapes only.
        max_execution_batch_size: with large batch splitting, most rows that run at once; requests
            of more rows, up to `max_batch_size`, are run in parts.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    max_execution_batch_size: int = 0

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise invalid(f"{name} must be positive; was {getattr(self, name)}")
        if self.batch_timeout_micros < 0:
            raise invalid(
                f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}"
            )
        if not 0 <= self.max_execution_batch_size <= self.max_batch_size:
            raise invalid(
                "max_execution_batch_size must be positive and at most max_batch_size; was "
                f"{self.max_execution_batch_size}"
            )
        sizes = self.allowed_batch_sizes
        if any(second <= first for first, second in itertools.pairwise(sizes)):
            raise invalid("allowed_batch_sizes entries must be monotonically increasing")
        if sizes and sizes[-1] != self.largest_run:
            raise invalid(
                "Last entry in allowed_batch_sizes must match max_batch_size or "
                f"max_execution_batch_size; last was {sizes[-1]}; expected {self.largest_run}"
            )

    @property
    def largest_run(self) -> int:
        """Most rows that run at once."""
        return self.max_execution_batch_size or self.max_batch_size


def read_batching_settings(path: str) -> BatchingSettings:
    """Read a `--batching_parameters_file`; an empty path gives the defaults.

    Raises:
        ServingError: the file cannot be read, or its values make no sense.
    """
    if not path:
        return BatchingSettings()
    proto = parse_text_file(path, BatchingParameters())
    given: dict[str, Any] = {
        name: getattr(proto, name).value
        for name in (
            "max_batch_size",
            "batch_timeout_micros",
            "max_enqueued_batches",
            "num_batch_threads",
        )
        if proto.HasField(name)
    }
    if proto.enable_large_batch_splitting.value:
        if not proto.HasField("max_execution_batch_size"):
            raise invalid(
                f"{path}: enable_large_batch_splitting needs max_execution_batch_size to be set"
            )
        given["max_execution_batch_size"] = proto.max_execution_batch_size.value
    return BatchingSettings(
        allowed_batch_sizes=tuple(proto.allowed_batch_sizes),
        pad_variable_length_inputs=proto.pad_variable_length_inputs,
        **given,
    )


@dataclass
class _Batch:
    created: float
    tasks: list[Mapping[str, Array]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    rows: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    # For each task its outputs or its error, once done.
    results: list[list[Array] | Exception] = field(default_factory=list)


class BatchingEngine:
    """An engine that batches the runs of another.

    Args:
        engine: runs the batches.
        settings: how to form them.
        slots: limits how many run at a time; shared by all models of a server.
    """

    def __init__(
        self, engine: Engine, settings: BatchingSettings, slots: threading.Semaphore
    ) -> None:
        self.name = engine.name
        self.signatures = engine.signatures
        self._engine = engine
        self._settings = settings
        self._slots = slots
        self._changed = threading.Condition()
        # Of each kind of request that can be batched: batches not yet run, the last one open.
        self._queues: dict[Any, list[_Batch]] = {}

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Run as part of a batch.

        Raises:
            ServingError: UNAVAILABLE where too many batches wait, INVALID_ARGUMENT or
                FAILED_PRECONDITION for a request or model that cannot be batched, or the graph's
                own error.
        """
        size = self._size(feeds)
        largest = self._settings.largest_run
        if size <= largest:
            return self._run_task(feeds, size, tuple(fetches))
        parts = [
            self._run_task(
                {name: value[start : start + largest] for name, value in feeds.items()},
                min(largest, size - start),
                tuple(fetches),
            )
            for start in range(0, size, largest)
        ]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def run_together(
        self, tasks: Sequence[tuple[Mapping[str, Array], Sequence[str]]]
    ) -> list[list[Array] | Exception]:
        """Run requests that one thread took in at once, in as few batches as they fit.

        None of them waits for company or is handed to another thread.

        Args:
            tasks: feeds and fetches of each request.

        Returns:
            For each what `run` would return or raise.
        """
        queues: dict[Any, list[_Batch]] = {}
        results: list[Any] = []
        for feeds, fetches in tasks:
            try:
                size = self._size(feeds)
                if size > self._settings.largest_run:
                    results.append(self.run(feeds, fetches))
                    continue
                queue = queues.setdefault(self._key(feeds, tuple(fetches)), [])
                batch, _ = self._join(queue, feeds, size)
                results.append((batch, len(batch.tasks) - 1))
            except Exception as error:
                results.append(error)
        for (_, wanted), queue in queues.items():
            for batch in queue:
                with self._slots:
                    batch.results = self._run_batch(batch, wanted)
        return [one[0].results[one[1]] if isinstance(one, tuple) else one for one in results]

    def _size(self, feeds: Mapping[str, Array]) -> int:
        size = _rows(feeds)
        if size > self._settings.max_batch_size:
            raise invalid(
                f"Task size {size} is larger than maximum input batch size "
                f"{self._settings.max_batch_size}"
            )
        return size

    def _join(
        self, queue: list[_Batch], feeds: Mapping[str, Array], size: int
    ) -> tuple[_Batch, bool]:
        """Put a request into the last batch of a queue, or into a new one behind it.

        Returns:
            The batch, and whether it is a new one.
        """
        batch = queue[-1] if queue else None
        opens = batch is None or batch.rows + size > self._settings.largest_run
        if batch is None or opens:
            if len(queue) >= self._settings.max_enqueued_batches:
                raise ServingError(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"currently {len(queue)} batches enqueued and max_enqueued_batches is "
                    f"{self._settings.max_enqueued_batches}",
                )
            batch = _Batch(time.monotonic())
            queue.append(batch)
        batch.tasks.append(feeds)
        batch.sizes.append(size)
        batch.rows += size
        return batch, opens

    def _run_task(
        self, feeds: Mapping[str, Array], size: int, fetches: tuple[str, ...]
    ) -> list[Array]:
        key = self._key(feeds, fetches)
        with self._changed:
            batch, leads = self._join(self._queues.setdefault(key, []), feeds, size)
            place = len(batch.tasks) - 1
            # A batch that is full, or behind which another one opens, waits no longer.
            self._changed.notify_all()
        if leads:
            self._lead(key, batch, fetches)
        else:
            batch.done.wait()
        result = batch.results[place]
        if isinstance(result, Exception):
            raise result
        return result

    def _key(self, feeds: Mapping[str, Array], fetches: tuple[str, ...]) -> Any:
        inputs = tuple(
            (
                name,
                feeds[name].dtype,
                feeds[name].ndim
                if self._settings.pad_variable_length_inputs
                else feeds[name].shape[1:],
            )
            for name in sorted(feeds)
        )
        return inputs, fetches

    def _lead(self, key: Any, batch: _Batch, fetches: tuple[str, ...]) -> None:
        try:
            ends = batch.created + self._settings.batch_timeout_micros / 1e6
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        batch.rows >= self._settings.largest_run
                        or self._queues[key][-1] is not batch
                    ),
                    max(ends - time.monotonic(), 0),
                )
            # While it waits for a slot, more requests may still join.
            with self._slots:
                with self._changed:
                    queue = self._queues[key]
                    queue.remove(batch)
                    if not queue:
                        # Clients choose shapes; kinds that nobody uses must not pile up.
                        del self._queues[key]
                batch.results = self._run_batch(batch, fetches)
        except Exception as error:
            batch.results = [error] * len(batch.tasks)
        finally:
            batch.done.set()

    def _run_batch(self, batch: _Batch, fetches: tuple[str, ...]) -> list[list[Array] | Exception]:
        try:
            outputs = self._engine.run(self._merged(batch), fetches)
            return list(_split(outputs, batch.sizes, self._filled(batch.rows)))
        except Exception as error:
            if len(batch.tasks) == 1:
                return [error]
        # One request at fault must not fail its neighbours: run each by itself.
        results: list[list[Array] | Exception] = []
        for task, size in zip(batch.tasks, batch.sizes, strict=True):
            alone = _Batch(batch.created, [task], [size], size)
            results += self._run_batch(alone, fetches)
        return results

    def _filled(self, rows: int) -> int:
        return next((size for size in self._settings.allowed_batch_sizes if size >= rows), rows)

    def _merged(self, batch: _Batch) -> dict[str, Array]:
        filling = self._filled(batch.rows) - batch.rows
        if len(batch.tasks) == 1 and not filling:
            return dict(batch.tasks[0])
        merged = {}
        for name in batch.tasks[0]:
            arrays = [task[name] for task in batch.tasks]
            if self._settings.pad_variable_length_inputs:
                arrays = _padded(arrays)
            if filling:
                # A row of a request is a valid input, which zeros need not be.
                arrays += [np.repeat(arrays[-1][:1], filling, axis=0)]
            merged[name] = np.concatenate(arrays)
        return merged

    def close(self) -> None:
        """Free the engine. No call may be under way."""
        self._engine.close()


def _rows(feeds: Mapping[str, Array]) -> int:
    if not feeds:
        raise invalid("Batching Run() must have at least one input tensor")
    sizes = set()
    for value in feeds.values():
        if value.ndim == 0:
            raise invalid("Batching Run() input tensors must have at least one dimension")
        sizes.add(len(value))
    if len(sizes) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _padded(arrays: list[Array]) -> list[Array]:
    """The arrays, padded behind with zeros or empty strings to their largest dimensions."""
    largest = tuple(max(sizes) for sizes in zip(*(one.shape[1:] for one in arrays), strict=True))
    padded = []
    for one in arrays:
        if one.shape[1:] == largest:
            padded.append(one)
            continue
        fill: Any = b"" if one.dtype == object else 0
        wide = np.full((len(one), *largest), fill, one.dtype)
        wide[tuple(slice(size) for size in one.shape)] = one
        padded.append(wide)
    return padded


def _split(outputs: list[Array], sizes: list[int], rows: int) -> list[list[Array]]:
    for output in outputs:
        if output.ndim == 0:
            raise failed_precondition("Batched output tensor has 0 dimensions")
        if len(output) != rows:
            raise failed_precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
                "sizes of the input tensors"
            )
    split = []
    start = 0
    for size in sizes:
        split.append([output[start : start + size] for output in outputs])
        start += size
    return split

"""Transform whose statistics are the same each time, to the last bit.

By default Beam chooses how many slates are added up at once by how long it took before, and deals
the sums out to partial sums from a random place on. Sums in another order differ in the last
digits, and with them means, variances and all weights after.
"""

from __future__ import annotations

import random
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.transform import component, executor
from tfx.dsl.components.base import executor_spec

# Slates added up at once, about as many as Beam would come to.
_BATCH_SIZE = 512


class _Processor(executor.TransformProcessor):
    def _GetDesiredBatchSize(self, data_format: int, schema: schema_pb2.Schema) -> int:
        return super()._GetDesiredBatchSize(data_format, schema) or _BATCH_SIZE


class _Executor(executor.Executor):
    def Do(self, *arguments: Any) -> None:
        state, default = random.getstate(), executor.TransformProcessor
        random.seed(0)
        # TFX's executor takes it from its module.
        executor.TransformProcessor = _Processor
        try:
            super().Do(*arguments)
        finally:
            executor.TransformProcessor = default
            random.setstate(state)


class RepeatableTransform(component.Transform):
    """Like `Transform`; in one process, the same examples give the same graph to the last bit."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)

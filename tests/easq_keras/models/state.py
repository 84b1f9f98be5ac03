"""All numbers that a compiled model holds."""

import keras
import numpy as np


def everything(model) -> list[np.ndarray]:
    optimizers = [model.optimizer, getattr(model, "satisfaction_optimizer", None)]
    variables = [*model.weights, *(v for o in optimizers if o is not None for v in o.variables)]
    return [keras.ops.convert_to_numpy(v) for v in variables]

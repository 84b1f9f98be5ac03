"""TFX's own client of TensorFlow Serving, as its infrastructure checks use it, unmodified."""

from __future__ import annotations

import time

import numpy as np
from tfx.components.infra_validator.model_server_clients import tensorflow_serving_client
from tfx.components.infra_validator.types import ModelServingStatus

from tests.serving.conftest import Running, make_predict_request


def test_tfx_client_sees_the_model_and_sends_requests(running: Running) -> None:
    client = tensorflow_serving_client.TensorFlowServingClient(running.address, "slates")
    client.WaitUntilModelLoaded(deadline=time.time() + 10, polling_interval_sec=1)
    assert client._GetServingStatus() == ModelServingStatus.READY
    request = make_predict_request(
        user_id=np.array([b"u"], object),
        item_id=np.array([[b"a"]], object),
        duration=np.float32([[1.0]]),
    )
    client.SendRequests([request, request])


def test_tfx_client_does_not_see_a_model_that_is_not_there(running: Running) -> None:
    client = tensorflow_serving_client.TensorFlowServingClient(running.address, "nobody")
    assert client._GetServingStatus() == ModelServingStatus.NOT_READY

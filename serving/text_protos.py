"""Text-format configuration files, and the protos of those that no Python package carries.

MonitoringConfig, SSLConfig and BatchingParameters are not in the tensorflow-serving-api wheel. They
are declared here with TensorFlow Serving's names and field numbers, so that a file written for it
parses and a misspelt field is refused.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format

from serving.declared_protos import declare
from serving.errors import invalid, not_found

_PACKAGE = "tensorflow.serving"
_WRAPPED = "google.protobuf."

_MESSAGES = {
    "PrometheusConfig": [("enable", 1, "bool"), ("path", 2, "string")],
    "MonitoringConfig": [("prometheus_config", 1, f"{_PACKAGE}.PrometheusConfig")],
    "SSLConfig": [
        ("server_key", 1, "string"),
        ("server_cert", 2, "string"),
        ("custom_ca", 3, "string"),
        ("client_verify", 4, "bool"),
    ],
    "BatchingParameters": [
        ("max_batch_size", 1, f"{_WRAPPED}Int64Value"),
        ("batch_timeout_micros", 2, f"{_WRAPPED}Int64Value"),
        ("max_enqueued_batches", 3, f"{_WRAPPED}Int64Value"),
        ("num_batch_threads", 4, f"{_WRAPPED}Int64Value"),
        ("thread_pool_name", 5, f"{_WRAPPED}StringValue"),
        ("allowed_batch_sizes", 6, "*int64"),
        ("pad_variable_length_inputs", 7, "bool"),
        ("enable_large_batch_splitting", 8, f"{_WRAPPED}BoolValue"),
        ("max_execution_batch_size", 9, f"{_WRAPPED}Int64Value"),
    ],
}


_CLASSES = declare(_PACKAGE, _MESSAGES, "easq/serving/config.proto")
MonitoringConfig = _CLASSES["MonitoringConfig"]
SSLConfig = _CLASSES["SSLConfig"]
BatchingParameters = _CLASSES["BatchingParameters"]


def parse_text_file(path: str, message: Any) -> Any:
    """Fill a message from a text-format file.

    Returns:
        The same message.

    Raises:
        ServingError: NOT_FOUND where the file cannot be read, INVALID_ARGUMENT where it is not
            such a message; the text names the file, and the line and field at fault.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise not_found(f"{path}; {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise invalid(f"Invalid protobuf file: '{path}': not UTF-8 text") from error
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise invalid(f"Invalid protobuf file: '{path}': {error}") from error

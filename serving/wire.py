"""The messages a client needs, on TensorFlow Serving's wire, without importing TensorFlow.

The generated code in the tensorflow-serving-api wheel imports the whole of TensorFlow, seconds and
hundreds of megabytes that a client has no use for.
"""

from __future__ import annotations

from serving.declared_protos import declare

_P = "tensorflow"

_CLASSES = declare(
    _P,
    {
        "Dim": [("size", 1, "int64"), ("name", 2, "string")],
        "TensorShapeProto": [("dim", 2, f"*{_P}.Dim"), ("unknown_rank", 3, "bool")],
        "TensorProto": [
            ("dtype", 1, "int32"),
            ("tensor_shape", 2, f"{_P}.TensorShapeProto"),
            ("version_number", 3, "int32"),
            ("tensor_content", 4, "bytes"),
            ("float_val", 5, "*float"),
            ("double_val", 6, "*double"),
            ("int_val", 7, "*int32"),
            ("string_val", 8, "*bytes"),
            ("scomplex_val", 9, "*float"),
            ("int64_val", 10, "*int64"),
            ("bool_val", 11, "*bool"),
            ("dcomplex_val", 12, "*double"),
            ("half_val", 13, "*int32"),
            ("uint32_val", 16, "*uint32"),
            ("uint64_val", 17, "*uint64"),
        ],
        "TensorInfo": [
            ("name", 1, "string"),
            ("dtype", 2, "int32"),
            ("tensor_shape", 3, f"{_P}.TensorShapeProto"),
        ],
        "SignatureDef": [
            ("inputs", 1, f"map {_P}.TensorInfo"),
            ("outputs", 2, f"map {_P}.TensorInfo"),
            ("method_name", 3, "string"),
            ("defaults", 4, f"map {_P}.TensorProto"),
        ],
        "SignatureDefMap": [("signature_def", 1, f"map {_P}.SignatureDef")],
        "ModelSpec": [
            ("name", 1, "string"),
            ("version", 2, "google.protobuf.Int64Value"),
            ("signature_name", 3, "string"),
            ("version_label", 4, "string"),
        ],
        "PredictRequest": [
            ("model_spec", 1, f"{_P}.ModelSpec"),
            ("inputs", 2, f"map {_P}.TensorProto"),
            ("output_filter", 3, "*string"),
        ],
        "PredictResponse": [
            ("outputs", 1, f"map {_P}.TensorProto"),
            ("model_spec", 2, f"{_P}.ModelSpec"),
        ],
        "GetModelMetadataRequest": [
            ("model_spec", 1, f"{_P}.ModelSpec"),
            ("metadata_field", 2, "*string"),
        ],
        "GetModelMetadataResponse": [
            ("model_spec", 1, f"{_P}.ModelSpec"),
            ("metadata", 2, "map google.protobuf.Any"),
        ],
    },
    "easq/serving/wire.proto",
)
TensorProto = _CLASSES["TensorProto"]
SignatureDefMap = _CLASSES["SignatureDefMap"]
PredictRequest = _CLASSES["PredictRequest"]
PredictResponse = _CLASSES["PredictResponse"]
GetModelMetadataRequest = _CLASSES["GetModelMetadataRequest"]
GetModelMetadataResponse = _CLASSES["GetModelMetadataResponse"]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"

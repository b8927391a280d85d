"""TensorFlow's own classes, run in a process apart: their messages and ours cannot share one.

Reads a JSON object a line on stdin and responses each with one on stdout:
- {"fields": [T, …]}          -> {T: {number: [name, type, repeated]}} as the public classes declare them
- {"type": T, "hex": bytes}   -> {"hex": the same message, serialised deterministically by the public T}
- {"type": T, "text": text}   -> {"hex": the message that this text proto is}
- {"parse": hex, "dtype": n}  -> TensorFlow's C++ parser: {"shape", "hex" | "strings"} or {"error"}
- {"ndarray": hex}            -> what tf.make_ndarray makes of it, in the same form
- {"make": n, "shape": […], "hex" | "strings": …} -> {"hex": the TensorProto of tf.make_tensor_proto}
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
    status_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

MODULES = (
    example_pb2,
    feature_pb2,
    tensor_pb2,
    tensor_shape_pb2,
    config_pb2,
    meta_graph_pb2,
    saved_model_pb2,
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
    status_pb2,
    model_server_config_pb2,
)


def public(name: str) -> Any:
    """An empty message of TensorFlow's own type of this name."""
    return next(getattr(module, name) for module in MODULES if hasattr(module, name))()


def fields(name: str) -> dict[int, tuple[str, int, bool]]:
    return {f.number: (f.name, f.type, f.is_repeated) for f in public(name).DESCRIPTOR.fields}


def array(value: np.ndarray[Any, Any]) -> dict[str, Any]:
    value = np.asarray(value)
    if value.dtype == object:
        return {"shape": value.shape, "strings": [v.hex() for v in value.ravel().tolist()]}
    return {"shape": value.shape, "hex": np.ascontiguousarray(value).tobytes().hex()}


def answer(question: dict[str, Any]) -> Any:
    if "fields" in question:
        return {name: fields(name) for name in question["fields"]}
    if "type" in question:
        message = public(question["type"])
        if "text" in question:
            text_format.Parse(question["text"], message)
        else:
            message.ParseFromString(bytes.fromhex(question["hex"]))
        return {"hex": message.SerializeToString(deterministic=True).hex()}
    if "parse" in question:
        try:
            return array(tf.io.parse_tensor(bytes.fromhex(question["parse"]), tf.as_dtype(question["dtype"])).numpy())
        except (tf.errors.InvalidArgumentError, tf.errors.InternalError) as error:
            return {"error": str(error)}
    if "ndarray" in question:
        return array(tf.make_ndarray(tensor_pb2.TensorProto.FromString(bytes.fromhex(question["ndarray"]))))
    dtype = tf.as_dtype(question["make"])
    if "strings" in question:
        flat = np.array([bytes.fromhex(v) for v in question["strings"]], object)
    else:
        flat = np.frombuffer(bytes.fromhex(question["hex"]), dtype.as_numpy_dtype)
    proto = tf.make_tensor_proto(flat.reshape(question["shape"]), dtype=dtype)
    return {"hex": proto.SerializeToString().hex()}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)  # noqa: T201

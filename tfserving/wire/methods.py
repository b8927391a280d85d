"""The gRPC methods of TensorFlow Serving, as data: a path and the two message types.

The path is a string in gRPC, so no generated service code is needed; server and client share this table.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from tfserving.wire import messages_pb2 as m

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
SIGNATURE_DEF_TYPE_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
"""`type_url` of the only metadata field, "signature_def": the one place where a message's name is on the wire."""
DEFAULT_SIGNATURE = "serving_default"
"""What an empty signature name in a request stands for."""


@dataclass(frozen=True, slots=True)
class Method:
    """One unary RPC: its service, its name, and the types of its request and response."""

    service: str
    name: str
    request: type[Message]
    response: type[Message]

    @property
    def path(self) -> str:
        """The HTTP/2 path, "/package.Service/Method"."""
        return f"/{self.service}/{self.name}"


PREDICT = Method(PREDICTION_SERVICE, "Predict", m.PredictRequest, m.PredictResponse)
CLASSIFY = Method(PREDICTION_SERVICE, "Classify", m.ClassificationRequest, m.ClassificationResponse)
REGRESS = Method(PREDICTION_SERVICE, "Regress", m.RegressionRequest, m.RegressionResponse)
MULTI_INFERENCE = Method(PREDICTION_SERVICE, "MultiInference", m.MultiInferenceRequest, m.MultiInferenceResponse)
GET_MODEL_METADATA = Method(
    PREDICTION_SERVICE, "GetModelMetadata", m.GetModelMetadataRequest, m.GetModelMetadataResponse
)
GET_MODEL_STATUS = Method(MODEL_SERVICE, "GetModelStatus", m.GetModelStatusRequest, m.GetModelStatusResponse)
RELOAD_CONFIG = Method(MODEL_SERVICE, "HandleReloadConfigRequest", m.ReloadConfigRequest, m.ReloadConfigResponse)

METHODS = (PREDICT, CLASSIFY, REGRESS, MULTI_INFERENCE, GET_MODEL_METADATA, GET_MODEL_STATUS, RELOAD_CONFIG)

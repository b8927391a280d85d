"""A client of any TensorFlow Serving, without tensorflow: gRPC and REST, blocking and asyncio."""

from tfserving.client.asynchronous import AsyncClient
from tfserving.client.blocking import Client
from tfserving.client.rest import SOLE_OUTPUT, AsyncRestClient, RestClient
from tfserving.client.values import (
    Metadata,
    ModelServerError,
    Prediction,
    Signature,
    TensorSpec,
    VersionStatus,
)

__all__ = [
    "SOLE_OUTPUT",
    "AsyncClient",
    "AsyncRestClient",
    "Client",
    "Metadata",
    "ModelServerError",
    "Prediction",
    "RestClient",
    "Signature",
    "TensorSpec",
    "VersionStatus",
]

"""What server reflection tells: the services by their names on the wire, with the messages of this project.

The names of the messages are not on the wire, and a process must not know two messages of one name, so the services
are described in a pool of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tfserving.wire import inference_pb2, messages_pb2, methods
from tfserving.wire.methods import Method

_FILES: Final = (any_pb2, wrappers_pb2, messages_pb2, inference_pb2, health_pb2, reflection_pb2)
_UNSERVED: Final = (methods.RELOAD_CONFIG,)


def descriptor_pool(inference: str) -> DescriptorPool:
    """A pool with every service of the port; `inference` is the full name of the Open Inference Protocol's."""
    pool = DescriptorPool()
    for module in _FILES:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    serving = [method for method in methods.METHODS if method not in _UNSERVED]
    pool.AddSerializedFile(_services("tensorflow_serving.proto", serving).SerializeToString())
    pool.AddSerializedFile(_services("open_inference.proto", _inference_methods(inference)).SerializeToString())
    return pool


def _inference_methods(service: str) -> Sequence[Method]:
    kinds = vars(inference_pb2)
    return [
        Method(service, name, kinds[f"{name}Request"], kinds[f"{name}Response"])
        for name in ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
    ]


def _services(file: str, served: Sequence[Method]) -> FileDescriptorProto:
    package = served[0].service.rpartition(".")[0]
    described = FileDescriptorProto(name=file, package=package, syntax="proto3")
    described.dependency.extend(sorted({_file_of(kind) for m in served for kind in (m.request, m.response)}))
    for name in dict.fromkeys(method.service for method in served):
        service = described.service.add(name=name.rpartition(".")[2])
        for method in served:
            if method.service == name:
                service.method.add(
                    name=method.name,
                    input_type=f".{method.request.DESCRIPTOR.full_name}",
                    output_type=f".{method.response.DESCRIPTOR.full_name}",
                )
    return described


def _file_of(kind: type[Message]) -> str:
    name: str = kind.DESCRIPTOR.file.name
    return name

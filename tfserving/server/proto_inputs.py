"""The inputs of a PredictRequest as the server's tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import DTYPES, TensorError, to_array

_RESOURCE = 20
_RESOURCE_FED = (
    "Invalid resource type hash code: 0(name:  type: ). Perhaps a resource tensor was being provided as a feed? That "
    "is not currently allowed. Please file an issue at https://github.com/tensorflow/tensorflow/issues/new, ideally "
    "with a short code snippet that leads to this error message."
)


class ProtoInputs(Mapping[str, Tensor]):
    """The inputs of a PredictRequest, decoded when they are looked at."""

    def __init__(self, protos: Mapping[str, m.TensorProto]) -> None:
        self._protos = protos

    def __getitem__(self, alias: str) -> Tensor:
        proto = self._protos[alias]
        try:
            return Tensor(DTYPES[proto.dtype], to_array(proto))
        except (TensorError, KeyError) as error:
            if proto.dtype == _RESOURCE:
                raise invalid(_RESOURCE_FED) from error
            raise invalid(f"tensor parsing error: {alias}") from error

    def __contains__(self, alias: object) -> bool:
        return alias in self._protos

    def __iter__(self) -> Iterator[str]:
        return iter(self._protos)

    def __len__(self) -> int:
        return len(self._protos)

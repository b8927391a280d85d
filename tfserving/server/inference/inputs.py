"""The inputs of a PredictRequest as the server's tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfserving.server.execution.servable import NotQuick
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import MOST_FILLED, TensorError, TooManyFilled, shape_of, to_flat

_QUICKLY_FILLED = 1 << 14
_RESOURCE, _VARIANT = 20, 21
_RESOURCE_FED = (
    "Invalid resource type hash code: 0(name:  type: ). Perhaps a resource tensor was being provided as a feed? That "
    "is not currently allowed. Please file an issue at https://github.com/tensorflow/tensorflow/issues/new, ideally "
    "with a short code snippet that leads to this error message."
)


class VariantGiven(Exception):
    """The input is of TensorFlow's type `variant`, which no signature takes from a client."""


class ProtoInputs(Mapping[str, Tensor]):
    """The inputs of a PredictRequest, decoded when they are looked at.

    Errors: StatusError, VariantGiven; with `only_if_quick` NotQuick for a few bytes that become a large tensor.
    """

    def __init__(self, protos: Mapping[str, m.TensorProto], *, only_if_quick: bool = False) -> None:
        self._protos = protos
        self._most_filled = _QUICKLY_FILLED if only_if_quick else MOST_FILLED

    def __getitem__(self, alias: str) -> Tensor:
        proto = self._protos[alias]
        try:
            return Tensor.shaped(*to_flat(proto, self._most_filled))
        except TensorError as error:
            if isinstance(error, TooManyFilled) and self._most_filled < MOST_FILLED:
                raise NotQuick from error
            if proto.dtype == _RESOURCE:
                raise invalid(_RESOURCE_FED) from error
            if proto.dtype == _VARIANT and _is_complete(proto.tensor_shape):
                raise VariantGiven from error
            raise invalid(f"tensor parsing error: {alias}") from error

    def __contains__(self, alias: object) -> bool:
        return alias in self._protos

    def __iter__(self) -> Iterator[str]:
        return iter(self._protos)

    def __len__(self) -> int:
        return len(self._protos)


def _is_complete(shape: m.TensorShapeProto) -> bool:
    try:
        shape_of(shape)
    except TensorError:
        return False
    return True

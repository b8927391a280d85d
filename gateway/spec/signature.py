"""Whether a version with a given signature can be fed and read by a feature spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.spec.base import SpecProblem
from gateway.spec.document import FeatureSpec, Input
from gateway.spec.outputs import Classification, Output, Raw

_TENSORFLOW_NAMES = {"float": "float32", "double": "float64", "half": "float16"}


class TensorLike(Protocol):
    """A tensor of a signature: the name of its dtype (numpy's or TensorFlow's) and its shape, None if unranked."""

    @property
    def dtype(self) -> str: ...

    @property
    def shape(self) -> Sequence[int] | None: ...


def check_signature(spec: FeatureSpec, inputs: Mapping[str, TensorLike], outputs: Mapping[str, TensorLike]) -> None:
    """Whether a version with this signature can be fed and read by the spec.

    Errors: SpecProblem that says what the spec and what the signature has.
    """
    _check_input(spec.input, inputs)
    _check_output(spec.output, outputs)


def _check_input(input_: Input, inputs: Mapping[str, TensorLike]) -> None:
    tensor = inputs.get(input_.name)
    if tensor is None:
        raise SpecProblem("input.name", f"the spec fills '{input_.name}', the signature's inputs are {_names(inputs)}")
    if len(inputs) > 1:
        others = _names([name for name in inputs if name != input_.name])
        raise SpecProblem("input", f"the spec fills '{input_.name}' only, the signature also needs {others}")
    if _dtype_name(tensor.dtype) != input_.dtype:
        raise SpecProblem(
            "input.dtype", f"the spec fills '{input_.name}' with {input_.dtype}, the signature takes {tensor.dtype}"
        )
    shape = tensor.shape
    if shape is not None and not (len(shape) == len(input_.shape) and all(map(_fits, shape, input_.shape))):
        hint = "; export the model with an unknown batch dimension" if shape and shape[0] > 0 else ""
        raise SpecProblem(
            "input.shape", f"the spec makes {input_.shape}, the signature takes {list(shape)} for '{input_.name}'{hint}"
        )


def _check_output(output: Output, outputs: Mapping[str, TensorLike]) -> None:
    tensor = outputs.get(output.name)
    if tensor is None:
        raise SpecProblem(
            "output.name", f"the spec reads '{output.name}', the signature's outputs are {_names(outputs)}"
        )
    if isinstance(output, Raw):
        return
    if _dtype_name(tensor.dtype) not in ("float16", "bfloat16", "float32", "float64"):
        raise SpecProblem(
            "output.kind", f"{_kind(output)} reads float scores, the signature gives {tensor.dtype} for '{output.name}'"
        )
    shape = tensor.shape
    if shape is None:
        return
    if isinstance(output, Classification):
        if len(shape) != 2 or not _fits(shape[1], len(output.labels)):
            raise SpecProblem(
                "output.labels",
                f"the spec has {len(output.labels)} labels, the signature gives {list(shape)} for '{output.name}'",
            )
    elif not (len(shape) == 1 or (len(shape) == 2 and _fits(shape[1], 1))):
        raise SpecProblem(
            "output.kind",
            f"{_kind(output)} reads one number per record, the signature gives {list(shape)} for '{output.name}'",
        )


def _fits(of_signature: int, of_spec: int) -> bool:
    return of_signature == -1 or of_signature == of_spec


def _dtype_name(dtype: str) -> str:
    name = dtype.lower().removeprefix("dt_")
    return _TENSORFLOW_NAMES.get(name, name)


def _kind(output: Output) -> str:
    return str(output.__struct_config__.tag)


def _names(names: Mapping[str, TensorLike] | Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))

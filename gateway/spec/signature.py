"""Whether a version with a given signature can be fed and read by a feature spec."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from gateway.spec.base import SpecProblem
from gateway.spec.document import FeatureSpec, Tensor
from gateway.spec.outputs import Classification, CodeOutput, Output, Raw

_TENSORFLOW_NAMES = {"float": "float32", "double": "float64", "half": "float16"}


class TensorLike(Protocol):
    """A tensor of a signature: the name of its dtype (numpy's or TensorFlow's) and its shape, None if unranked."""

    @property
    def dtype(self) -> str: ...

    @property
    def shape(self) -> Sequence[int] | None: ...


def check_signature(
    spec: FeatureSpec,
    inputs: Mapping[str, TensorLike],
    outputs: Mapping[str, TensorLike],
    defaults: Collection[str] = (),
) -> None:
    """Whether a version with this signature can be fed and read by the spec; `defaults` names inputs with a default.

    Errors: SpecProblem that says what the spec and what the signature has; of several problems, all of them.
    """
    problems = signature_problems(spec, inputs, outputs, defaults)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise SpecProblem("", "; ".join(map(str, problems)))


def signature_problems(
    spec: FeatureSpec,
    inputs: Mapping[str, TensorLike],
    outputs: Mapping[str, TensorLike],
    defaults: Collection[str] = (),
) -> list[SpecProblem]:
    """Everything in which a spec and a signature do not fit each other."""
    tensors = spec.tensors()
    found = [problem for tensor in tensors for problem in _input_problems(tensor, inputs)]
    filled = {tensor.name for tensor in tensors}
    others = [name for name in inputs if name not in filled and name not in defaults]
    if others and not (len(inputs) == len(tensors) == 1):
        what = ", ".join(f"'{tensor.name}'" for tensor in tensors)
        at = "input" if spec.input is not None else "inputs"
        found.append(SpecProblem(at, f"the spec fills {what} only, the signature also needs {_names(others)}"))
    found += _output_problems(spec.output, outputs)
    found += [
        SpecProblem("pass_through", f"the spec names '{name}', the signature's outputs are {_names(outputs)}")
        for name in spec.pass_through
        if name not in outputs
    ]
    return found


def _input_problems(tensor: Tensor, inputs: Mapping[str, TensorLike]) -> Iterator[SpecProblem]:
    path, mine = tensor.path, list(tensor.shape)
    wanted = inputs.get(tensor.name)
    if wanted is None:
        at = "input.name" if path == "input" else path
        yield SpecProblem(at, f"the spec fills '{tensor.name}', the signature's inputs are {_names(inputs)}")
        return
    if _dtype_name(wanted.dtype) != tensor.dtype:
        yield SpecProblem(
            f"{path}.dtype", f"the spec fills '{tensor.name}' with {tensor.dtype}, the signature takes {wanted.dtype}"
        )
    shape = wanted.shape
    if shape is not None and not (len(shape) == len(mine) and all(map(_fits, shape, mine))):
        hint = "; export the model with an unknown batch dimension" if shape and shape[0] > 0 else ""
        yield SpecProblem(
            f"{path}.shape", f"the spec makes {mine}, the signature takes {list(shape)} for '{tensor.name}'{hint}"
        )


def _output_problems(output: Output, outputs: Mapping[str, TensorLike]) -> Iterator[SpecProblem]:
    tensor = outputs.get(output.name)
    if tensor is None:
        yield SpecProblem(
            "output.name", f"the spec reads '{output.name}', the signature's outputs are {_names(outputs)}"
        )
        return
    if isinstance(output, Raw | CodeOutput):
        return
    if _dtype_name(tensor.dtype) not in ("float16", "bfloat16", "float32", "float64"):
        yield SpecProblem(
            "output.kind", f"{_kind(output)} reads float scores, the signature gives {tensor.dtype} for '{output.name}'"
        )
        return
    shape = tensor.shape
    if shape is None:
        return
    if isinstance(output, Classification):
        if len(shape) != 2 or not _fits(shape[1], len(output.labels)):
            yield SpecProblem(
                "output.labels",
                f"the spec has {len(output.labels)} labels, the signature gives {list(shape)} for '{output.name}'",
            )
    elif not (len(shape) == 1 or (len(shape) == 2 and _fits(shape[1], 1))):
        yield SpecProblem(
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

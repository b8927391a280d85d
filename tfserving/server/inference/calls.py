"""What a request asks of the models: the calls that gRPC, REST and warm-up share.

The messages are those of TensorFlow Serving; every failure is a StatusError with its code and text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tfserving.json.values import is_utf8
from tfserving.server.execution.servable import Servable
from tfserving.server.inference import examples as ex
from tfserving.server.inference.inputs import VariantGiven
from tfserving.server.metrics import Metrics
from tfserving.server.versions.manager import Handle
from tfserving.server.versions.models import ModelCore
from tfserving.wire import messages_pb2 as m
from tfserving.wire.methods import DEFAULT_SIGNATURE
from tfserving.wire.status import Code, StatusError, invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import DTYPES, to_flat

_FAR_FUTURE_SECONDS = 365 * 86400
_PREDICT_METHODS = ("tensorflow/serving/predict", ex.CLASSIFY_METHOD, ex.REGRESS_METHOD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The outputs by alias, and which model version and signature produced them."""

    outputs: dict[str, Tensor]
    name: str
    version: int
    signature: str


Result = TypeVar("Result", m.ClassificationResult, m.RegressionResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfExamples(Generic[Result]):
    """What a version made of Examples, and which model version and signature that was."""

    result: Result
    name: str
    version: int
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The signatures of one loaded version."""

    name: str
    version: int
    signatures: m.SignatureDefMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a model is run, and the name under which its run is counted.

    `timeout_ms` 0 is no limit; `check_method` is --enable_signature_method_name_check.
    """

    metrics: Metrics
    model: str
    timeout_ms: int = 0
    check_method: bool = False
    only_if_quick: bool = False

    def fetch(self, servable: Servable, api: str, feeds: dict[str, Tensor], names: Sequence[str]) -> list[Tensor]:
        """The tensors of these names. A run that succeeds leaves a sample, whatever becomes of its outputs.

        Errors: StatusError; with `only_if_quick` NotQuick.
        """
        start = time.perf_counter()
        values = servable.runner.run(feeds, names, self.timeout_ms, only_if_quick=self.only_if_quick)
        self.metrics.runtime_latency.observe((time.perf_counter() - start) * 1e6, self.model, api, "TF1")
        return values


class Inference:
    """Answers requests from the versions that are loaded. Thread-safe; calls block until the model has run.

    `timeout` is in seconds and bounds the run of the model; None and less than a millisecond mean no bound.
    `check_method` is --enable_signature_method_name_check.
    """

    def __init__(self, core: ModelCore, metrics: Metrics, *, check_method: bool = False) -> None:
        self._core, self._metrics = core, metrics
        self._check_method = check_method

    def _run(self, handle: Handle, timeout: float | None, *, only_if_quick: bool = False) -> Run:
        return Run(
            metrics=self._metrics,
            model=handle.name,
            timeout_ms=_milliseconds(timeout),
            check_method=self._check_method,
            only_if_quick=only_if_quick,
        )

    def predict(
        self,
        spec: m.ModelSpec,
        inputs: Mapping[str, Tensor],
        *,
        output_filter: Sequence[str] = (),
        timeout: float | None,
        only_if_quick: bool = False,
    ) -> Predicted:
        """Run one signature. `inputs` by alias; a mapping that decodes on access is decoded in the right order.

        Errors: StatusError from the lookup of model and signature, from the check of the aliases, from the run; with
        `only_if_quick` NotQuick.
        """
        with self._core.handle(spec) as handle:
            run = self._run(handle, timeout, only_if_quick=only_if_quick)
            signature, outputs = run_predict(handle.servable, spec.signature_name, inputs, output_filter, run)
            return Predicted(outputs=outputs, name=handle.name, version=handle.version, signature=signature)

    def classify(
        self, spec: m.ModelSpec, examples: Sequence[bytes], *, timeout: float | None
    ) -> OfExamples[m.ClassificationResult]:
        """Classify serialised Examples. Errors: StatusError."""
        return self._of_examples(run_classify, spec, examples, timeout)

    def regress(
        self, spec: m.ModelSpec, examples: Sequence[bytes], *, timeout: float | None
    ) -> OfExamples[m.RegressionResult]:
        """One number per serialised Example. Errors: StatusError."""
        return self._of_examples(run_regress, spec, examples, timeout)

    def _of_examples(
        self,
        call: Callable[[Servable, str, Sequence[bytes], Run], Result],
        spec: m.ModelSpec,
        examples: Sequence[bytes],
        timeout: float | None,
    ) -> OfExamples[Result]:
        with self._core.handle(spec) as handle:
            name = spec.signature_name or DEFAULT_SIGNATURE
            result = call(handle.servable, name, examples, self._run(handle, timeout))
            return OfExamples(result=result, name=handle.name, version=handle.version, signature=name)

    def multi_inference(self, request: m.MultiInferenceRequest, *, timeout: float | None) -> m.MultiInferenceResponse:
        """Several classify and regress signatures on the same Examples, in one run of the model of the first task.

        Errors: StatusError.
        """
        spec = request.tasks[0].model_spec if request.tasks else m.ModelSpec()
        with self._core.handle(spec) as handle:
            response = run_multi(handle.servable, request, self._run(handle, timeout))
            for result in response.results:
                result.model_spec.name = handle.name
                result.model_spec.version.value = handle.version
            return response

    def signature(self, spec: m.ModelSpec, name: str) -> m.SignatureDef | None:
        """A signature of the version that `spec` asks for, None when it has none of that name ("" = the default).

        Errors: StatusError of the lookup of the model.
        """
        with self._core.handle(spec) as handle:
            signatures = handle.servable.signatures.signature_def
            return signatures.get(name or DEFAULT_SIGNATURE) if is_utf8(name) else None

    def metadata(self, spec: m.ModelSpec) -> Described:
        """All signatures of the version that `spec` asks for. Errors: StatusError of the lookup."""
        with self._core.handle(spec) as handle:
            return _described(handle)

    def status(self, name: str, version: int | None) -> list[m.ModelVersionStatus]:
        """States of one version or of all. Errors: StatusError NOT_FOUND for one never seen."""
        return self._core.status(name, version)


def run_predict(
    servable: Servable,
    signature_name: str,
    inputs: Mapping[str, Tensor],
    output_filter: Sequence[str],
    run: Run,
) -> tuple[str, dict[str, Tensor]]:
    """Predict on a servable in hand: the signature's name and the outputs by alias. Errors: StatusError, NotQuick."""
    name = signature_name or DEFAULT_SIGNATURE
    signatures = servable.signatures.signature_def
    if name not in signatures:
        raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    signature = signatures[name]
    if run.check_method and signature.method_name not in _PREDICT_METHODS:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(_PREDICT_METHODS)}}}. "
            f"Was: {signature.method_name}",
        )
    feeds = _feeds(signature, inputs)
    aliases = _outputs(signature, output_filter)
    names = [signature.outputs[alias].name for alias in aliases]
    values = run.fetch(servable, "Predict", feeds, names)
    return name, dict(zip(aliases, values, strict=True))


def _feeds(signature: m.SignatureDef, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by tensor name, after the checks of the real server in its order."""
    wanted, given, defaults = signature.inputs, inputs.keys(), signature.defaults
    if len(given) > len(wanted) or (len(given) < len(wanted) and not defaults):
        raise invalid(
            f"input size does not match signature: {len(given)}!={len(wanted)} len({{{_names(given)}}}) != "
            f"len({{{_names(wanted)}}}). Sent extra: {{{_names(given - wanted.keys())}}}. Missing but required: "
            f"{{{_names(wanted.keys() - given)}}}."
        )
    feeds: dict[str, Tensor] = {}
    used: list[str] = []
    for alias in sorted(wanted):
        info = wanted[alias]
        if alias in given:
            try:
                feeds[info.name] = inputs[alias]
            except VariantGiven as error:
                want = DTYPES[info.dtype].name
                raise invalid(f"Expects arg[{len(feeds)}] to be {want} but variant is provided") from error
            used.append(alias)
        elif alias in defaults:
            default = defaults[alias]
            feeds[info.name] = Tensor.shaped(*to_flat(default))
        else:
            raise invalid(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {{{_names(given)}}}, or default input alias set: "
                f"{_names(defaults)}"
            )
    if len(used) != len(given):
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {_names(used)}, request input: {_names(given)}"
        )
    return feeds


def _outputs(signature: m.SignatureDef, output_filter: Sequence[str]) -> list[str]:
    if not output_filter:
        return list(signature.outputs)
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_names(signature.outputs)}}}."
            )
        if alias in chosen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen


def _names(aliases: object) -> str:
    return ",".join(sorted(aliases))  # type: ignore[call-overload]


def run_classify(servable: Servable, name: str, examples: Sequence[bytes], run: Run) -> m.ClassificationResult:
    """Classify on a servable in hand. Errors: StatusError."""
    signature = _signature_of_examples(servable, name)
    wiring = ex.classify_wiring(signature, check_method=run.check_method)
    outputs = run.fetch(servable, "Classify", {wiring.input: ex.example_tensor(examples)}, wiring.outputs)
    return ex.classification(signature, outputs, len(examples))


def run_regress(servable: Servable, name: str, examples: Sequence[bytes], run: Run) -> m.RegressionResult:
    """Regress on a servable in hand. Errors: StatusError."""
    wiring = ex.regress_wiring(_signature_of_examples(servable, name), check_method=run.check_method)
    outputs = run.fetch(servable, "Regress", {wiring.input: ex.example_tensor(examples)}, wiring.outputs)
    return ex.regression(outputs, len(examples))


def _signature_of_examples(servable: Servable, name: str) -> m.SignatureDef:
    signatures = servable.signatures.signature_def
    if name not in signatures:
        raise ex.no_such_signature(name)
    return signatures[name]


def run_multi(servable: Servable, request: m.MultiInferenceRequest, run: Run) -> m.MultiInferenceResponse:
    """MultiInference on a servable in hand, without model names in the results. Errors: StatusError."""
    tasks = _wire_tasks(servable, request, run.check_method)
    examples = ex.serialized_examples(request.input)
    given = ex.example_tensor(examples)
    feeds = {wiring.input: given for _, _, wiring in tasks}
    fetches = list(dict.fromkeys(name for _, _, wiring in tasks for name in wiring.outputs))
    values = servable.runner.run(feeds, fetches, run.timeout_ms)
    run.metrics.request_example_counts.observe(len(examples), run.model)
    run.metrics.request_example_count_total.add(len(examples), run.model)
    by_name = dict(zip(fetches, values, strict=True))
    response = m.MultiInferenceResponse()
    for task, signature, wiring in tasks:
        result = response.results.add()
        result.model_spec.signature_name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        outputs = [by_name[name] for name in wiring.outputs]
        if task.method_name == ex.CLASSIFY_METHOD:
            result.classification_result.CopyFrom(ex.classification(signature, outputs, len(examples)))
        else:
            result.regression_result.CopyFrom(ex.regression(outputs, len(examples)))
    return response


def _wire_tasks(
    servable: Servable, request: m.MultiInferenceRequest, check_method: bool
) -> list[tuple[m.InferenceTask, m.SignatureDef, ex.Wiring]]:
    wired: dict[str, tuple[m.InferenceTask, m.SignatureDef, ex.Wiring]] = {}
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in wired:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        if name not in servable.signatures.signature_def:
            raise invalid(f"Requested signature not found in model graph: {name}")
        signature = servable.signatures.signature_def[name]
        if task.method_name == ex.CLASSIFY_METHOD:
            wiring = ex.classify_wiring(signature, check_method=check_method)
        elif task.method_name == ex.REGRESS_METHOD:
            wiring = ex.regress_wiring(signature, check_method=check_method)
        else:
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        wired[name] = (task, signature, wiring)
    return list(wired.values())


def _described(handle: Handle) -> Described:
    return Described(name=handle.name, version=handle.version, signatures=handle.servable.signatures)


def _milliseconds(timeout: float | None) -> int:
    """0 is no limit; gRPC reports a missing deadline as one in the far future."""
    return 0 if timeout is None or timeout > _FAR_FUTURE_SECONDS else max(0, int(timeout * 1000))

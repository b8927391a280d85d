"""The REST API: routes, status codes and the calls behind them, as TensorFlow Serving answers them."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from tfserving.json import messages, predict, writer
from tfserving.json.cost import decoded_bytes
from tfserving.json.examples import read_examples
from tfserving.json.predict import Document
from tfserving.json.reader import read_object
from tfserving.json.values import is_utf8
from tfserving.server.execution.servable import NotQuick
from tfserving.server.inference.calls import Inference
from tfserving.server.inference.examples import no_such_signature
from tfserving.server.inflate import GZIP, Damaged, NoRoom, TooLarge, inflate
from tfserving.server.memory import Budget, Hold
from tfserving.server.metrics import Metrics
from tfserving.server.rest.message import Refusal, Request, Response
from tfserving.server.rest.server import HttpServer
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import HTTP_STATUS, Code, StatusError, invalid
from tfserving.wire.tensor import Tensor

_Writer = Callable[[Mapping[str, Tensor]], bytes]

_REST = re.compile(r"/v1/.*", re.IGNORECASE)
_CHOICE = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_CHOICE}:(?P<verb>classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_MODEL = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_CHOICE}(?:/(?P<part>metadata))?", re.IGNORECASE | re.ASCII)
_ORIGIN = re.compile(r"https?://")

_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
_MAX_UNZIPPED = 100 << 20
_QUICK_BYTES = 16 * 1024
"""Larger requests are read by a thread that serves no other connections meanwhile."""
_MOST_DIGITS = 20


class RestServer:
    """The REST port: model inference under /v1/, and the metrics if `prometheus_path` is given.

    `threads` counts the event loop, see HttpServer. `timeout_ms` bounds each run of a model; 0 or less means no bound.
    `cors` adds the headers that let browsers on other sites read responses. `budget` bounds the bytes of all clients.
    """

    def __init__(
        self,
        inference: Inference,
        metrics: Metrics,
        *,
        port: int,
        threads: int,
        timeout_ms: int,
        cors: bool,
        prometheus_path: str | None,
        budget: Budget,
    ) -> None:
        api = RestApi(
            inference, metrics, timeout_ms=timeout_ms, cors=cors, prometheus_path=prometheus_path, budget=budget
        )
        self._http = HttpServer(api.answer, api.quick, port=port, threads=threads, budget=budget)

    @property
    def port(self) -> int:
        """The port, known after `start` when it was 0."""
        return self._http.port

    def start(self) -> None:
        """Bind and serve. Errors: OSError when the port cannot be bound."""
        self._http.start()

    def stop(self, grace: float) -> None:
        """Accept nothing more, finish what is in progress within `grace` seconds, then close."""
        self._http.stop(grace)


class RestApi:
    """Answers requests, on any thread."""

    def __init__(
        self,
        inference: Inference,
        metrics: Metrics,
        *,
        timeout_ms: int,
        cors: bool,
        prometheus_path: str | None,
        budget: Budget,
    ) -> None:
        self._inference = inference
        self._metrics = metrics
        self._timeout = timeout_ms / 1000 if timeout_ms > 0 else None
        self._cors = _CORS if cors else ()
        self._prometheus_path = prometheus_path
        self._budget = budget

    def quick(self, request: Request) -> Response | Refusal | None:
        """Answer a small prediction by a model that is known to be quick, and its errors; None for all else."""
        small = request.method == "POST" and len(request.body) <= _QUICK_BYTES and not _is_zipped(request)
        if not small or request.path == self._prometheus_path:
            return None
        try:
            return self.answer(request, only_if_quick=True)
        except NotQuick:
            return None

    def answer(self, request: Request, *, only_if_quick: bool = False) -> Response | Refusal:
        """Answer one request. Errors: with `only_if_quick` NotQuick."""
        if request.path == self._prometheus_path:
            return self._metrics_page(request)
        if not _REST.fullmatch(request.path_and_query):
            return Refusal(404, request.version, request.method)
        if request.method == "OPTIONS":
            return self._preflight(request)
        started = time.perf_counter()
        route = _Route.of(request.method, request.path_and_query)
        code, body = self._run(route, request, only_if_quick)
        self._metrics.request_count.add(1, route.model, code.name)
        if code is Code.OK:
            self._metrics.request_latency.observe(
                (time.perf_counter() - started) * 1e6, route.model, route.verb, "REST"
            )
        return Response(status=HTTP_STATUS[code], body=body, content_type="application/json", headers=self._cors)

    def _metrics_page(self, request: Request) -> Response:
        if request.path_and_query != self._prometheus_path:
            text = f"Unexpected path: {request.path_and_query}. Should be {self._prometheus_path}"
            return Response(status=400, body=text.encode(), content_type="text/plain")
        return Response(status=200, body=writer.encode(self._metrics.text()), content_type="text/plain")

    def _preflight(self, request: Request) -> Response:
        """The question of a browser on another site whether it may ask."""
        code = Code.OK if _ORIGIN.search(request.headers.get("origin", "")) else Code.FAILED_PRECONDITION
        self._metrics.request_count.add(1, "", code.name)
        if code is Code.OK:
            self._metrics.request_latency.observe(0, "", "", "REST")
        return Response(status=HTTP_STATUS[code], headers=self._cors)

    def _run(self, route: _Route, request: Request, only_if_quick: bool) -> tuple[Code, bytes]:
        if route.version_overflows:
            # TensorFlow Serving loses the message on this path.
            return Code.INVALID_ARGUMENT, b""
        try:
            if only_if_quick:
                if route.verb != "predict":
                    raise NotQuick
                return Code.OK, self._predict(route.spec(), read_object(request.body), only_if_quick=True)
            with Hold(self._budget) as held:
                return Code.OK, self._body(route, request, held)
        except StatusError as error:
            return error.code, writer.error_body(route.in_its_own_bytes(error.message))

    def _body(self, route: _Route, request: Request, held: Hold) -> bytes:
        match route.verb or route.part:
            case "predict":
                return self._predict(route.spec(), _document_of(request, held, self._timeout))
            case "classify":
                return self._classify(route.spec(), _document_of(request, held, self._timeout))
            case "regress":
                return self._regress(route.spec(), _document_of(request, held, self._timeout))
            case "status" | "metadata" if not route.model:
                raise invalid("Missing model name in request.")
            case "status":
                return messages.status_body(self._inference.status(route.model, route.version))
            case "metadata":
                described = self._inference.metadata(route.spec())
                return messages.metadata_body(described.name, described.version, described.signatures)
        raise invalid(f"Malformed request: {request.method} {request.path_and_query}")

    def _predict(self, spec: m.ModelSpec, document: Document, *, only_if_quick: bool = False) -> bytes:
        tensors, write = self._tensors(spec, document)
        found = self._inference.predict(spec, tensors, timeout=self._timeout, only_if_quick=only_if_quick)
        return write(found.outputs)

    def _tensors(self, spec: m.ModelSpec, document: Document) -> tuple[dict[str, Tensor], _Writer]:
        """The tensors of a predict request and what writes its response; the signature goes to `spec`."""
        signature = predict.signature_name(document)
        inputs = predict.input_types(self._inference.signature(spec, signature), signature)
        spec.signature_name = signature
        return predict.tensors(document, inputs), predict.body_writer(document)

    def _examples(self, spec: m.ModelSpec, document: Document) -> list[bytes]:
        """The Examples of a request; its signature goes to `spec`."""
        name = predict.signature_name(document)
        examples = read_examples(document)
        if not is_utf8(name):
            self._inference.signature(spec, "")
            raise no_such_signature(name)
        spec.signature_name = name
        return examples

    def _classify(self, spec: m.ModelSpec, document: Document) -> bytes:
        examples = self._examples(spec, document)
        return writer.classification_body(self._inference.classify(spec, examples, timeout=self._timeout).result)

    def _regress(self, spec: m.ModelSpec, document: Document) -> bytes:
        examples = self._examples(spec, document)
        return writer.regression_body(self._inference.regress(spec, examples, timeout=self._timeout).result)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """What a URL under /v1/ asks for. Neither `verb` nor `part` is set for a URL that means nothing."""

    model: str = ""
    version: int | None = None
    label: str | None = None
    verb: str = ""
    """"predict", "classify" or "regress", in the client's spelling."""
    part: str = ""
    """"status" or "metadata"."""

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, method: str, path_and_query: str) -> _Route:
        """The route of a request."""
        if method == "POST":
            match = _INFERENCE.fullmatch(path_and_query)
        elif method == "GET":
            match = _MODEL.fullmatch(path_and_query)
        else:
            match = None
        if match is None:
            return cls()
        groups = match.groupdict()
        return cls(
            model=_decoded(groups["name"] or ""),
            version=_number(groups["version"]) if groups["version"] else None,
            label=_decoded(groups["label"]) if groups["label"] else None,
            verb=groups.get("verb") or "",
            # Only the lower-case word asks for metadata; any other spelling is taken for a status request.
            part="" if "verb" in groups else "metadata" if groups["part"] == "metadata" else "status",
        )

    @property
    def version_overflows(self) -> bool:
        """Whether the version is not a 64-bit number."""
        return self.version is not None and self.version >= 1 << 63

    def spec(self) -> m.ModelSpec:
        """The model as inference names it."""
        spec = m.ModelSpec(name=_text(self.model))
        if self.version is not None:
            spec.version.value = self.version
        elif self.label is not None:
            spec.version_label = _text(self.label)
        return spec

    def in_its_own_bytes(self, message: str) -> str:
        """An error's text with the names as they came, where they are no text and `spec` had to change them."""
        for name in (self.model, self.label or ""):
            if not is_utf8(name):
                message = message.replace(_text(name), name, 1)
        return message


def _number(digits: str) -> int:
    """A version; what has too many digits for 64 bits stays a number with too many."""
    return int(digits.lstrip("0")[:_MOST_DIGITS] or 0)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def _text(name: str) -> str:
    """A name that protobuf holds; one that is no text names no model and no label."""
    return name if is_utf8(name) else name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _document_of(request: Request, held: Hold, seconds: float | None) -> Document:
    """The body as JSON, when there is memory for what it becomes; read for at most so many seconds.

    Errors: as of `_body_of` and `read_object`.
    """
    body = _body_of(request, held)
    if len(body) > _QUICK_BYTES and not held.take(decoded_bytes(body), alone=True):
        raise _no_memory()
    until = math.inf if seconds is None else time.monotonic() + seconds
    return read_object(body, lambda: request.gone() or time.monotonic() > until)


def _body_of(request: Request, held: Hold) -> bytes:
    """The body, unpacked if its encoding mentions gzip. What cannot be unpacked counts as empty.

    Errors: RESOURCE_EXHAUSTED when it does not fit beside the other requests.
    """
    if not _is_zipped(request):
        return request.body
    try:
        return inflate(request.body, GZIP, _MAX_UNZIPPED, held.take)
    except (Damaged, TooLarge):
        return b""
    except NoRoom as error:
        raise _no_memory() from error


def _no_memory() -> StatusError:
    return StatusError(Code.RESOURCE_EXHAUSTED, "the requests in progress leave no memory for this one")


def _is_zipped(request: Request) -> bool:
    return "gzip" in request.headers.get("content-encoding", "")

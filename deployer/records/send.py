"""Senders: send a payload, and read the predictions from the response."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec
import numpy as np

from deployer.decode import json_as
from deployer.errors import SpecError
from deployer.records import http1
from deployer.records.endpoint import Grpc, RecordApi, Value
from deployer.records.files import Batch
from tfserving.wire import messages_pb2, methods, tensors


class _ErrorBody(msgspec.Struct):
    error: str


class SendFailed(Exception):
    """A request without a successful response; errors are counted by `code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Sender(Protocol):
    """One protocol to one target. Payloads are encoded once, before the trial."""

    def payload(self, batch: Batch) -> bytes:
        """The bytes of the request for one batch. Errors: SpecError for samples that this protocol cannot send."""
        ...

    async def open(self, connections: int) -> None:
        """Open connections in advance. Errors: SendFailed."""
        ...

    async def send(self, payload: bytes) -> bytes:
        """Send, and return the body of a successful response. Errors: SendFailed."""
        ...

    def predictions(self, response: bytes) -> list[Value]:
        """The predictions in a response, one per record. Errors: SendFailed "malformed"."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class _PredictionsBody(msgspec.Struct):
    predictions: list[dict[str, Any]]


class RecordSender:
    """POST of `{"version": "v1", "records": […]}` to gateways."""

    def __init__(self, target: RecordApi, *, timeout: float) -> None:
        self._pools = [http1.Pool(url, timeout=timeout, tls=target.tls) for url in target.urls]
        self._path = target.path
        self._headers = target.headers
        self._next = 0
        self._decode = msgspec.json.Decoder(_PredictionsBody).decode

    def payload(self, batch: Batch) -> bytes:
        records = [sample.record for sample in batch.samples]
        if None in records:
            raise SpecError('the gateway needs lines with "record", not "inputs"')
        body = msgspec.json.encode({"version": "v1", "records": records})
        return http1.post(self._pools[0].authority, self._path, body, headers=self._headers)

    async def open(self, connections: int) -> None:
        for pool in self._pools:
            try:
                await pool.warm(connections)
            except http1.HttpError as error:
                raise SendFailed(error.code, str(error)) from error

    async def send(self, payload: bytes) -> bytes:
        pool = self._pools[self._next]
        self._next = (self._next + 1) % len(self._pools)
        try:
            response = await pool.request(payload)
        except http1.HttpError as error:
            raise SendFailed(error.code, str(error)) from error
        if response.status != 200:
            raise SendFailed(str(response.status), _reason(response.body))
        return response.body

    def predictions(self, response: bytes) -> list[Value]:
        try:
            return [value_of(p) for p in self._decode(response).predictions]
        except (msgspec.MsgspecError, KeyError) as error:
            raise SendFailed("malformed", f"a response without predictions: {error}") from error

    async def close(self) -> None:
        for pool in self._pools:
            pool.close()


def value_of(prediction: dict[str, Any]) -> Value:
    """What can be compared of a gateway's prediction: its label, value or values."""
    for key in ("top_prediction", "value", "values"):
        if key in prediction:
            found = prediction[key]
            if isinstance(found, list | dict):
                return _numbers(found)
            return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else str(found)
    return msgspec.json.encode(prediction, order="sorted").decode()


def _numbers(found: object) -> Value:
    try:
        return tuple(np.asarray(found, np.float64).ravel().tolist())
    except (TypeError, ValueError):  # text, or rows of different lengths: compared as JSON
        return msgspec.json.encode(found, order="sorted").decode()


class GrpcSender:
    """gRPC Predict through one channel, like a client without load balancing."""

    def __init__(self, target: Grpc, *, timeout: float) -> None:
        import grpc.aio

        self._target = target
        self._timeout = timeout
        self._channel = grpc.aio.insecure_channel(target.address)
        self._call = self._channel.unary_unary(methods.PREDICT.path)

    def payload(self, batch: Batch) -> bytes:
        target = self._target
        request = messages_pb2.PredictRequest()
        request.model_spec.name = target.model
        request.model_spec.signature_name = target.signature
        if target.label:
            request.model_spec.version_label = target.label
        for name in _names(batch):
            dtype = tensors.BY_NAME[target.dtypes.get(name, "float32")]
            rows = [(sample.inputs or {})[name] for sample in batch.samples]
            try:
                request.inputs[name].CopyFrom(tensors.to_proto(np.asarray(rows, dtype.storage)))
            except (ValueError, TypeError, tensors.TensorError) as error:
                raise SpecError(
                    f"input {name} of line {batch.indices[0] + 1} ff. is not a {dtype.name} tensor",
                    cause=str(error),
                    hint="a line has one row of each input; rows in one request must have equal shapes",
                ) from error
        return request.SerializeToString()

    async def open(self, connections: int) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._channel.channel_ready()
        except TimeoutError as error:
            raise SendFailed("connection", f"no connection to {self._target.address}") from error

    async def send(self, payload: bytes) -> bytes:
        import grpc.aio

        try:
            response: bytes = await self._call(payload, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            raise SendFailed(error.code().name, error.details() or "") from error
        return response

    def predictions(self, response: bytes) -> list[Value]:
        message = messages_pb2.PredictResponse.FromString(response)
        columns = [tensors.to_values(message.outputs[name]) for name in sorted(message.outputs)]
        if not columns:
            raise SendFailed("malformed", "a response without outputs")
        if any(column.dtype == object for column in columns):
            return [repr(row) for row in zip(*columns, strict=True)]
        rows = np.concatenate([column.reshape(len(column), -1).astype(np.float64) for column in columns], axis=1)
        return [tuple(row) for row in rows.tolist()]

    async def close(self) -> None:
        await self._channel.close()


def _names(batch: Batch) -> list[str]:
    """The input names that all lines of a batch have. Errors: SpecError when they differ, or a line has none."""
    names = sorted(batch.samples[0].inputs or {})
    for index, sample in zip(batch.indices, batch.samples, strict=True):
        if not sample.inputs:
            raise SpecError(
                f'record {index + 1}: a model server needs lines with "inputs", not "record"',
                hint='write {"inputs": {NAME: one row}, "expected": …}, or leave out --direct',
            )
        if sorted(sample.inputs) != names:
            raise SpecError(f"record {index + 1} has inputs {', '.join(sorted(sample.inputs))}, not {', '.join(names)}")
    return names


def sender(target: RecordApi | Grpc, *, timeout: float) -> Sender:
    """The sender for a target. Errors: SendFailed for an invalid address."""
    if isinstance(target, Grpc):
        return GrpcSender(target, timeout=timeout)
    try:
        return RecordSender(target, timeout=timeout)
    except http1.HttpError as error:
        raise SendFailed(error.code, str(error)) from error


def _reason(body: bytes) -> str:
    """The text of an error response: the `error` of a gateway's JSON, else the beginning of the body."""
    try:
        return json_as(body, _ErrorBody).error
    except msgspec.MsgspecError:
        return body[:500].decode(errors="replace")

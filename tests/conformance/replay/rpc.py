"""Calls as cases write them, and their responses."""

from __future__ import annotations

import base64
import re

import grpc
from google.protobuf.message import DecodeError

from replay.cases import Answer
from replay.messages import decode, encode, request_type, response_type
from replay.steps import GrpcRequest

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]
_COMPRESSION = {None: None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}

_FROM_THE_CLIENT = re.compile(
    r"Stream removed|^Deadline Exceeded|Socket closed|failed to connect|Connection reset|GOAWAY"
)
"""Texts that the client's library wrote: they change with its release and say nothing about the server."""


def channel(port: int) -> grpc.Channel:
    """A connection to a server, which may not be there yet."""
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)


def call(connection: grpc.Channel, request: GrpcRequest, limit: float) -> Answer:
    """Make a call and read the response; `limit` in seconds where the request has no deadline of its own."""
    if request.template:
        data = encode(request_type(request.method), request.json)
    else:
        data = base64.b64decode(request.b64)
    method = connection.unary_unary(request.method, request_serializer=None, response_deserializer=None)
    try:
        response = method(
            data,
            timeout=limit if request.deadline is None else request.deadline,
            metadata=tuple(request.metadata.items()),
            wait_for_ready=False,
            compression=_COMPRESSION[request.compression],
        )
    except grpc.RpcError as error:
        text = error.details() or ""
        return {"code": error.code().name, "message": "<client side>" if _FROM_THE_CLIENT.search(text) else text}
    if request.big:
        return {"code": "OK", "length": len(response)}
    try:
        return {"code": "OK", "response": decode(response_type(request.method).DESCRIPTOR, response)}
    except DecodeError as error:
        return {"code": "OK", "undecodable": str(error)}

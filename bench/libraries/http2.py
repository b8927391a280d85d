"""h2 and grpcio in place of this project's HTTP/2; `python -m bench model_server` has grpcio's server beside it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import hpack

from bench import gateway as base
from bench.libraries import ROUNDS, compare_calls, show
from deployer.tools.ports import free
from gateway.backends.transport import GrpcTransport
from tfserving.http2 import frames
from tfserving.server.grpc import message as gm
from tfserving.server.grpc.call import Call
from tfserving.server.grpc.connection import ServerConnection
from tfserving.server.grpc.limits import Limits
from tfserving.server.memory import Budget

CALLS = 1000
BODY = b"\0" + (350).to_bytes(4, "big") + bytes(350)
"""A Predict of 64 floats is about as long."""
FIELDS = [
    (":method", "POST"), (":scheme", "http"), (":path", "/tensorflow.serving.PredictionService/Predict"),
    (":authority", "127.0.0.1:8500"), ("te", "trailers"), ("content-type", "application/grpc"),
    ("user-agent", "grpc-python/1.80 grpc-c/1.80"), ("grpc-timeout", "9999m"),
]  # fmt: skip
ECHO = """
import sys
import threading
from dataclasses import dataclass, field
from tfserving.server.grpc.server import GrpcServer
from tfserving.server.memory import Budget

@dataclass
class Methods:
    table: dict = field(default_factory=lambda: {"/s/Echo": lambda body, timeout: body})
    quick: dict = field(default_factory=lambda: {"/s/Echo": lambda body, timeout: body})

server = GrpcServer(Methods(), max_threads=4, budget=Budget(1 << 30))
server.listen(int(sys.argv[1]), None)
server.start()
threading.Event().wait()
"""


def main() -> None:
    """Print what a call costs a server in frames alone, and a client on a real socket."""
    asyncio.run(_server_side())
    port = free(1)[0]
    server = base.start_process([sys.executable, "-c", ECHO, str(port)])
    try:
        base.wait_for_port(port)
        asyncio.run(_client_side(port))
    finally:
        _end(server)


def _calls() -> list[bytes]:
    """What a client sends: its first bytes, then one call each."""
    encoder, sent = hpack.Encoder(), [frames.CLIENT_PREFACE + frames.opening({frames.ENABLE_PUSH: 0})]
    for number in range(1, 2 * CALLS, 2):
        block = encoder.encode(FIELDS)
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, number, block)
        sent.append(head + frames.frame(frames.DATA, frames.END_STREAM, number, BODY))
    return sent


class _Sink(asyncio.Transport):
    """A transport that forgets."""

    def write(self, data: Any) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False


def _own(sent: list[bytes]) -> None:
    def take(call: Call) -> None:
        call.connection.answer(call, gm.HEAD, call.body, gm.OK)

    def nothing(connection: ServerConnection) -> None:
        pass

    connection = ServerConnection(take, nothing, nothing, limits=Limits(), budget=Budget(1 << 30))
    connection.connection_made(_Sink())
    for piece in sent:
        connection.data_received(piece)
    connection.connection_lost(None)


def _h2(sent: list[bytes]) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    head = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", "identity, gzip")]
    bodies: dict[int, bytes] = {}
    for piece in sent:
        for event in connection.receive_data(piece):
            if isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                connection.send_headers(event.stream_id, head)
                connection.send_data(event.stream_id, bodies.pop(event.stream_id))
                connection.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
        connection.data_to_send()


async def _server_side() -> None:
    sent, figures = _calls(), {"own": list[float](), "h2": list[float]()}
    for turn in range(ROUNDS + 1):
        for what, serve in (("own", _own), ("h2", _h2)):
            started = time.process_time()
            serve(sent)
            if turn:
                figures[what].append((time.process_time() - started) / CALLS * 1e6)
    show("A call of 355 bytes at a server, without any socket", figures)


async def _client_side(port: int) -> None:
    transport = GrpcTransport(f"127.0.0.1:{port}")
    await transport.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/s/Echo")
        await compare_calls(
            "A call of a client",
            {"own": lambda: transport.call("/s/Echo", BODY, 10), "grpc.aio": lambda: call(BODY, timeout=10)},
            2000,
        )
    await transport.close()


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    server.wait(20)

"""What one request costs the embedded model server: CPU time of its process, and latency seen by a client.

The model is a 64-32-10 MLP. The client runs in this process, the server in another; both share the machine's cores,
so latency is that of a loaded machine while CPU time per request is not affected much. An empty method of a grpcio
thread-pool server is measured in turns with it: the ratio means the same on a machine of any speed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import psutil

from deployer.tools import ports
from tfserving.wire import messages_pb2 as m
from tfserving.wire.methods import PREDICT
from tfserving.wire.tensors import to_proto

MODEL = """
import sys
import tensorflow as tf

class Mlp(tf.Module):
    def __init__(self):
        sizes = [64, 32, 10]
        self.layers = [(tf.Variable(tf.random.normal([a, b]) * 0.1), tf.Variable(tf.zeros([b])))
                       for a, b in zip(sizes, sizes[1:])]

    @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32, "x")])
    def serve(self, x):
        (w1, b1), (w2, b2) = self.layers
        return {"y": tf.nn.softmax(tf.nn.relu(x @ w1 + b1) @ w2 + b2)}

mlp = Mlp()
tf.saved_model.save(mlp, sys.argv[1], {"serving_default": mlp.serve})
"""


EMPTY = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc

class Empty(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda wire, context: b"")

server = grpc.server(ThreadPoolExecutor(64), handlers=[Empty()])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""
ROUNDS = 5


def main(arguments: list[str]) -> None:
    """Print one line per way of asking."""
    parser = argparse.ArgumentParser(prog="bench model_server", description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="requests per line")
    parser.add_argument("--model", help="version directory of a model with input x [n,64]; made when absent")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        base = _model(Path(folder), options.model)
        print(f"{'request':<34}{'server CPU':>14}{'p50':>10}{'p99':>10}{'rate':>12}")
        with _server(base) as (port, rest_port, process), _empty_server() as (empty_port, empty):
            for rows, in_flight in ((1, 1), (1, 8), (1, 32), (32, 8)):
                call = grpc_caller(port, rows)
                _line(f"gRPC, {rows} rows, {in_flight} in flight", call, process, in_flight, options.requests)
            _line("REST, 1 row, 8 in flight", _rest_caller(rest_port), process, 8, options.requests)
            _compare(
                {
                    "gRPC, 1 row": (grpc_caller(port, 1), process),
                    "gRPC, 32 rows": (grpc_caller(port, 32), process),
                    "empty grpcio method": (grpc_caller(empty_port, 1), empty),
                },
                options.requests // ROUNDS,
            )
            print(f"resident memory: {process.memory_info().rss >> 20} MiB")


def _model(folder: Path, given: str | None) -> Path:
    if given:
        return Path(given).parent
    subprocess.run([sys.executable, "-c", MODEL, str(folder / "1")], check=True, timeout=120, stderr=subprocess.DEVNULL)
    return folder


@contextmanager
def _server(base: Path) -> Iterator[tuple[int, int, psutil.Process]]:
    port, rest_port = ports.free(2)
    start = time.monotonic()
    command = [sys.executable, "-m", "tfserving.server", f"--port={port}", f"--rest_api_port={rest_port}"]
    server = subprocess.Popen(
        [*command, "--model_name=mlp", f"--model_base_path={base}", "--grpc_max_threads=64"],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(60)
        print(f"ports open {time.monotonic() - start:.1f} s after the start")
        yield port, rest_port, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(30)


@contextmanager
def _empty_server() -> Iterator[tuple[int, psutil.Process]]:
    server = subprocess.Popen([sys.executable, "-c", EMPTY], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline()), psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(30)


def _compare(cases: Mapping[str, tuple[Callable[[], None], psutil.Process]], requests: int) -> None:
    """Print the median CPU time of each over rounds in turns, 8 in flight, and its ratio to the last."""
    rounds: dict[str, list[float]] = {what: [] for what in cases}
    with ThreadPoolExecutor(8) as pool:
        for turn in range(ROUNDS + 1):
            for what, (call, server) in cases.items():
                before = server.cpu_times()
                list(pool.map(lambda _, call=call: call(), range(requests)))
                after = server.cpu_times()
                if turn:  # the first warms up
                    rounds[what].append((after.user + after.system - before.user - before.system) / requests)
    medians = {what: statistics.median(seconds) for what, seconds in rounds.items()}
    last = list(medians.values())[-1]
    print(f"in turns, {ROUNDS} rounds of {requests}, 8 in flight:")
    for what, seconds in medians.items():
        print(f"  {what:<32}{seconds * 1e6:>11.0f} us{seconds / last:>8.2f} x")


def grpc_caller(port: int, rows: int) -> Callable[[], None]:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    predict = channel.unary_unary(PREDICT.path)
    request = m.PredictRequest(model_spec=m.ModelSpec(name="mlp"))
    request.inputs["x"].CopyFrom(to_proto(np.random.default_rng(1).random((rows, 64), np.float32)))
    endpoint = request.SerializeToString()
    return lambda: predict(endpoint, timeout=30)


def _rest_caller(port: int) -> Callable[[], None]:
    local = threading.local()
    body = json.dumps({"instances": np.random.default_rng(1).random((1, 64), np.float32).tolist()})

    def call() -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        local.connection.request("POST", "/v1/models/mlp:predict", body)
        local.connection.getresponse().read()

    return call


def _line(what: str, call: Callable[[], None], server: psutil.Process, in_flight: int, requests: int) -> None:
    def timed(_: int) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(timed, range(200)))
        before, start = server.cpu_times(), time.perf_counter()
        seconds = sorted(pool.map(timed, range(requests)))
        wall, after = time.perf_counter() - start, server.cpu_times()
    cpu = (after.user + after.system - before.user - before.system) / requests
    p50, p99 = seconds[requests // 2], seconds[requests * 99 // 100]
    print(f"{what:<34}{cpu * 1e6:>11.0f} us{p50 * 1e3:>7.1f} ms{p99 * 1e3:>7.1f} ms{requests / wall:>10.0f}/s")

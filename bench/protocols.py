"""CPU time of the gateway process per request in each protocol: `python -m bench protocols`.

One row of 30 float features, eight requests in flight, no preprocessing. Measured as `python -m bench gateway` does;
beside it an empty method of grpcio's asyncio server, which is what no gRPC port with that library can be below.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import grpc
import numpy as np
import yaml

from bench.gateway import (
    FEATURES,
    ROUNDS,
    cpu_seconds,
    gateway_config,
    idle_share,
    send_requests,
    start_model_server,
    start_process,
    wait_for_port,
)
from deployer.tools.ports import free
from tfserving.wire import inference_pb2 as pb
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.tensors import to_proto

CLIENTS, REQUESTS = 8, 1600
ROW = np.arange(FEATURES, dtype=np.float32).reshape(1, FEATURES) * 1.1
EMPTY = """
import asyncio, sys, uvloop, grpc
async def echo(message, context): return b""
class Table(grpc.GenericRpcHandler):
    def service(self, details): return grpc.unary_unary_rpc_method_handler(echo)
async def main():
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((Table(),))
    server.add_insecure_port("127.0.0.1:" + sys.argv[1])
    await server.start()
    await server.wait_for_termination()
uvloop.run(main())
"""


def main(arguments: list[str]) -> None:
    """Print one line per protocol; they take turns, so they share the noise."""
    with tempfile.TemporaryDirectory() as folder:
        server_port, http, admin, rpc, bare = free(5)
        server = start_model_server(Path(folder, "model"), server_port)
        config = Path(folder, "gateway.yaml")
        config.write_text(yaml.safe_dump(gateway_config(server_port)))
        listen = ["--port", str(http), "--admin-port", str(admin), "--grpc-port", str(rpc)]
        gateway = start_process([sys.executable, "-m", "gateway", "--config", str(config), *listen])
        empty = start_process([sys.executable, "-c", EMPTY, str(bare)])
        try:
            for port in (http, rpc, bare):
                wait_for_port(port)
            idle = {process.pid: idle_share(process.pid) for process in (gateway, empty)}
            ways = _ways(http, rpc, bare)
            found: dict[str, list[float]] = {name: [] for name in ways}
            for send in ways.values():
                send(REQUESTS // 5)
            for _ in range(ROUNDS):
                for name, send in ways.items():
                    pid = empty.pid if name.startswith("empty") else gateway.pid
                    before = cpu_seconds(pid)
                    send(REQUESTS)
                    found[name].append((cpu_seconds(pid) - before) / REQUESTS * 1e6)
            print(f"us of CPU a request, one row of {FEATURES} floats, {CLIENTS} in flight: least, median of {ROUNDS}")
            for name, figures in found.items():
                print(f"{name:<34} {min(figures):6.0f} {median(figures):6.0f}")
            print("idle: " + ", ".join(f"{share * 1e6:.0f} us a second" for share in idle.values()))
        finally:
            for process in (gateway, empty, server):
                process.terminate()
                process.wait(20)


def _ways(http: int, rpc: int, bare: int) -> dict[str, Callable[[int], None]]:
    row = ROW.tolist()
    instances = _post("/v1/models/m:predict", json.dumps({"instances": row}).encode())
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, FEATURES]}
    values = _post("/v2/models/m/infer", json.dumps({"inputs": [{**tensor, "data": row[0]}]}).encode())
    raw = ROW.tobytes()
    head = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}
    head_text = json.dumps({**head, "parameters": {"binary_data_output": True}}).encode()
    binary = _post("/v2/models/m/infer", head_text + raw, f"inference-header-content-length: {len(head_text)}\r\n")
    predict = m.PredictRequest(model_spec=m.ModelSpec(name="m"))
    predict.inputs["x"].CopyFrom(to_proto(ROW))
    infer = pb.ModelInferRequest(model_name="m", raw_input_contents=[raw])
    infer.inputs.add(name="x", datatype="FP32", shape=[1, FEATURES])
    serving, inference = predict.SerializeToString(), infer.SerializeToString()
    return {
        "REST, instances": lambda n: send_requests(http, instances, CLIENTS, n),
        "REST, v2, JSON": lambda n: send_requests(http, values, CLIENTS, n),
        "REST, v2, binary tensors": lambda n: send_requests(http, binary, CLIENTS, n),
        "gRPC, PredictionService.Predict": lambda n: _calls(rpc, methods.PREDICT.path, serving, n),
        "gRPC, v2, ModelInfer": lambda n: _calls(rpc, "/inference.GRPCInferenceService/ModelInfer", inference, n),
        "empty method of grpcio": lambda n: _calls(bare, "/s/Empty", serving, n),
    }


def _post(path: str, body: bytes, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: gateway\r\n{more}content-length: {len(body)}\r\n\r\n".encode() + body


def _calls(port: int, path: str, message: bytes, calls: int) -> None:
    async def client(method: Callable[..., object]) -> None:
        for _ in range(calls // CLIENTS):
            await method(message, timeout=30)  # type: ignore[misc]  # grpcio has no types

    async def run() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method = channel.unary_unary(path)
            await asyncio.gather(*(client(method) for _ in range(CLIENTS)))

    asyncio.run(run())


if __name__ == "__main__":
    main(sys.argv[1:])

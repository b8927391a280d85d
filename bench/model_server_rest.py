"""What the REST layer of the embedded model server costs without a model: CPU time of each step of a predict request.

It shows where time goes when the whole (`bench model_server`) changes; everything runs in this process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from tfserving.json.reader import read_object
from tfserving.json.tensors import from_instances
from tfserving.json.writer import row_body
from tfserving.server.rest.message import Request, RequestParser, Response, write_response
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import BY_NAME


def main(arguments: list[str]) -> None:
    """Print one line per step and number of rows."""
    parser = argparse.ArgumentParser(prog="bench model_server_rest", description=__doc__)
    parser.add_argument("--repeat", type=int, default=2000, help="repetitions of each step")
    options = parser.parse_args(arguments)
    for rows in (1, 32):
        _measure(rows, options.repeat)


def _measure(rows: int, repeat: int) -> None:
    random = np.random.default_rng(1)
    body = json.dumps({"instances": random.random((rows, 64)).round(4).tolist()}).encode()
    head = b"POST /v1/models/mlp:predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    inputs = {"x": BY_NAME["float"]}
    outputs = {"y": Tensor.of(random.random((rows, 10), np.float32))}

    def parse() -> Request:
        parser = RequestParser()
        parser.feed(head + body)
        found = parser.next()
        assert isinstance(found, Request)
        return found

    request = parse()
    document = read_object(body)["instances"]
    assert isinstance(document, list)
    answer = Response(status=200, body=row_body(outputs), content_type="application/json")
    steps: dict[str, Callable[[], object]] = {
        "HTTP request": parse,
        "JSON": lambda: read_object(body),
        "JSON to tensor": lambda: from_instances(document, inputs),
        "tensor to JSON": lambda: row_body(outputs),
        "HTTP response": lambda: write_response(request, answer),
        "JSON by the standard library": lambda: json.loads(body),
    }
    print(f"{rows} rows of 64 floats, answers of 10 floats a row")
    for name, step in steps.items():
        print(f"  {name:<30}{_microseconds(step, repeat):>9.1f} us")


def _microseconds(step: Callable[[], object], repeat: int) -> float:
    step()
    start = time.process_time()
    for _ in range(repeat):
        step()
    return (time.process_time() - start) / repeat * 1e6

"""The process that reads large bodies: tasks from standard input, replies to standard output, until that ends.

Its memory is bounded: `python -m gateway.api.large BYTES` beside what it takes at its start.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO, Final

from gateway.api.large.messages import (
    PREFIX,
    Examples,
    ExamplesTask,
    Failed,
    Inferring,
    InferTask,
    Predicting,
    PredictTask,
    Reply,
    Task,
    decode_task,
    encode,
    lengths,
    prefix,
)
from gateway.api.v2.requests import read_request
from gateway.errors import BadRequest
from tfserving.json import predict
from tfserving.json.examples import read_examples
from tfserving.json.reader import read_object
from tfserving.wire import messages_pb2 as m
from tfserving.wire.methods import DEFAULT_SIGNATURE
from tfserving.wire.status import Code, StatusError
from tfserving.wire.tensors import to_proto

NICE: Final = 5
"""The event loop comes first where both share a CPU."""


def reply(task: Task, body: bytes) -> Reply:
    """What a body says; for one that is wrong, why."""
    try:
        match task:
            case PredictTask():
                return _predicting(task, body)
            case ExamplesTask():
                document = read_object(body)
                return Examples(predict.signature_name(document), read_examples(document))
            case InferTask():
                asked = read_request(body, task.header)
                return Inferring(
                    asked.id, dict(asked.parameters), dict(asked.inputs), list(asked.outputs), dict(asked.binary),
                    asked.all_binary,
                )  # fmt: skip
    except StatusError as error:
        return Failed(error.code.value, error.message)
    except BadRequest as error:
        return Failed(0, error.message)
    except MemoryError:
        return Failed(Code.RESOURCE_EXHAUSTED.value, "decoded, the body takes more memory than the gateway has for it")


def _predicting(task: PredictTask, body: bytes) -> Predicting:
    document = read_object(body)
    name = predict.signature_name(document)
    signatures = m.SignatureDefMap.FromString(task.signatures).signature_def
    tensors = predict.tensors(document, predict.input_types(signatures.get(name or DEFAULT_SIGNATURE), name))
    inputs = {alias: to_proto(one.array, dtype=one.dtype).SerializeToString() for alias, one in tensors.items()}
    return Predicting(name, "instances" in document, inputs)


def main(most: int) -> None:
    """Serve until standard input ends; `most` bytes of memory are for tasks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the gateway ends it
    os.nice(NICE)
    _bound(most)
    given, out = sys.stdin.buffer, sys.stdout.buffer
    while len(start := given.read(PREFIX)) == PREFIX:
        said = _serve(given, *lengths(start))
        out.write(prefix(said) + said)
        out.flush()


def _serve(given: BinaryIO, said: int, size: int) -> bytes:
    """By itself, so that nothing of a task is kept while the next one is waited for."""
    task = decode_task(given.read(said))
    return encode(reply(task, given.read(size)))


def _bound(most: int) -> None:
    """Linux counts private memory; elsewhere nothing bounds it but what the gateway counts."""
    status = Path("/proc/self/status")
    if status.exists():
        own = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmData:"))
        limit = int(own.split()[1]) * 1024 + most
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main(int(sys.argv[1]))

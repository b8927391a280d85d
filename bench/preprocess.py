"""CPU cost of turning records into tensors and outputs into answers: `python -m bench preprocess`.

Prints the best of several rounds, in CPU time of this process, so that other load on the machine matters little.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from io import BytesIO

import msgspec
import numpy as np
from PIL import Image

from gateway.postprocess.interpret import Interpreter
from gateway.preprocess import Rates, RateTable, compile_spec
from gateway.spec import parse_spec

WIDTH = 30
ROUNDS = 7

_OUTPUT = "output: {name: b, kind: classification, labels: [deny, approve], activation: softmax}\n"
_FLOATS = "\n".join(
    f"  - {{name: f{index}, type: float, normalize: {{mean: {index}, std: 2}}}}" for index in range(WIDTH)
)
FLOATS = parse_spec(f"features:\n{_FLOATS}\ninput: {{name: a, dtype: float32, shape: [-1, {WIDTH}]}}\n{_OUTPUT}")
LOAN = parse_spec(f"""
features:
  - {{name: income, type: float, currency: {{field: currency, to: USD}}, min: 0, normalize: {{mean: 50000, std: 2e4}}}}
  - {{name: employment_years, type: float, default: 0, normalize: {{mean: 6.1, std: 4.2}}}}
  - {{name: purpose, type: category, vocabulary: [car, home, other], unknown: other}}
input: {{name: a, dtype: float32, shape: [-1, 5]}}
{_OUTPUT}""")
PHOTO = parse_spec(f"""
features: [{{name: photo, type: image, image: {{width: 8, height: 8, channels: 1, scale: 0.0625}}}}]
input: {{name: a, dtype: float32, shape: [-1, 8, 8, 1]}}
{_OUTPUT}""")


BESIDE = 10
"""Features of one type in a record."""
TYPES: list[tuple[str, str, int, Callable[[int], object]]] = [
    ("float", "type: float, normalize: {mean: 1, std: 2}", 1, lambda at: 1.5 * at),
    ("int", "type: int", 1, lambda at: at),
    ("float, missing", "type: float, missing: {value: 1}", 1, lambda at: 1.5 * at),
    ("float, a tenth null", "type: float, missing: {value: 1}", 1, lambda at: 1.5 * at if at % 10 else None),
    ("float, bucketize", "type: float, bucketize: {boundaries: [1, 2], encoding: index}", 1, lambda at: 1.5 * at),
    ("bool", "type: bool", 1, lambda at: at % 2 == 0),
    ("category, one_hot", "type: category, vocabulary: [aa, bb, cc]", 3, lambda at: ("aa", "bb", "cc")[at % 3]),
    ("category, index", "type: category, encoding: index, vocabulary: [aa, bb]", 1, lambda at: ("aa", "bb")[at % 2]),
    ("category, text", "type: category, encoding: index, vocabulary: [aa, bb], text: {case: lower, unicode: NFC}", 1,
     lambda at: ("aa", "BB")[at % 2]),
    ("category, farmhash", "type: category, encoding: hash_bucket, hash: farmhash, buckets: 99", 1,
     lambda at: f"w{at % 50}"),
    ("timestamp, hour", "type: timestamp, parts: [hour]", 1, lambda at: f"2026-01-{at % 28 + 1:02}T08:00:00Z"),
    ("timestamp, zone", "type: timestamp, parts: [hour_sin, hour_cos, weekday], timezone: Europe/Paris", 3,
     lambda at: f"2026-01-{at % 28 + 1:02}T08:00:00Z"),
    ("timestamp, seconds", "type: timestamp, parts: [hour], format: seconds", 1, lambda at: 1.7e9 + at),
    ("vector", "type: vector, length: 3", 3, lambda at: [1.0, 2.0, at]),
    ("list of numbers", "type: list, length: 3, items: {type: number}", 3, lambda at: [1.0, 2.0][: at % 3]),
    ("list, multi-hot", "type: list, items: {type: category, vocabulary: [aa, bb, cc]}", 3,
     lambda at: ["aa", "bb"][: at % 3]),
]  # fmt: skip
"""Name, feature, columns and the value in record `at`."""


def types() -> None:
    """Prints the cost of each type, and its ratio to a plain float per column, in the same run."""
    print(f"\n{BESIDE} features of one type:        1 record    100 records, each    10,000 records, each")
    plain: dict[int, float] = {}
    for name, feature, width, value in TYPES:
        listed = "\n".join(f"  - {{name: f{index}, {feature}}}" for index in range(BESIDE))
        spec = parse_spec(
            f"features:\n{listed}\ninput: {{name: a, dtype: float32, shape: [-1, {BESIDE * width}]}}\n"
            "output: {name: b, kind: raw}\n"
        )
        compiled = compile_spec(spec)
        line = f"{name:<22}"
        for count in (1, 100, 10_000):
            records = [{f"f{index}": value(at) for index in range(BESIDE)} for at in range(count)]
            work, times = partial(compiled.vectorize, records), max(1, 2000 // count)
            cost = min(_cpu_seconds(work, times) for _ in range(ROUNDS)) / times / count / width * 1e6
            ratio = cost / plain.setdefault(count, cost)
            line += f"{cost * width:>10.2f} us ({ratio:5.2f} x)"
        print(line)


def main(_arguments: list[str]) -> None:
    """Prints one line per case."""
    floats = compile_spec(FLOATS)
    loan = compile_spec(LOAN, Rates(RateTable(base="USD", rates={"EUR": 0.92})))
    photo = compile_spec(PHOTO)
    interpreter = Interpreter(FLOATS.output)

    record = {f"f{index}": index * 1.5 for index in range(WIDTH)}
    application = {"income": 52_000, "currency": "EUR", "purpose": "home"}
    buffer = BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(buffer, "PNG")
    image = {"photo": b64encode(buffer.getvalue()).decode()}
    body = msgspec.json.encode([record] * 1000)
    logits = np.zeros((1000, 2), dtype=np.float32)

    report("vectorize, 1 record of 30 floats", lambda: floats.vectorize([record]), 2000)
    report("vectorize, 1,000 records of 30 floats", lambda: floats.vectorize([record] * 1000), 10)
    report("  for comparison: decoding their JSON", lambda: msgspec.json.decode(body), 10)
    report("vectorize, 1 loan (money, default, category)", lambda: loan.vectorize([application]), 2000)
    report("vectorize, 1,000 loans", lambda: loan.vectorize([application] * 1000), 10)
    report("vectorize, 1 picture of 8 x 8", lambda: photo.vectorize([image]), 500)
    report("interpret, 1 row of 2 labels", lambda: interpreter.interpret({"b": logits[:1]}), 2000)
    report("interpret, 1,000 rows of 2 labels", lambda: interpreter.interpret({"b": logits}), 10)
    types()


def report(what: str, work: Callable[[], object], times: int) -> None:
    """Prints the CPU time of one call."""
    best = min(_cpu_seconds(work, times) for _ in range(ROUNDS))
    print(f"{what:<46}{best / times * 1e6:>10.1f} us CPU")


def _cpu_seconds(work: Callable[[], object], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - start


if __name__ == "__main__":
    main([])

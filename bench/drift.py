"""CPU cost of counting records for drift, per record: `python -m bench drift [MICROSECONDS_OF_A_REQUEST]`.

The share is that of a request with one record; without an argument, of the 380 us that `python -m bench gateway` shows
for one of 30 floats. Records above the rate of 500 a second are not counted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from gateway.drift import Drift, Watch
from gateway.postprocess.predictions import Alternative, LabelPrediction
from gateway.spec import Output, parse_spec
from gateway.spec.statistics import with_statistics

REQUEST_US = 380.0
ROUNDS = 7
RECORDS = 5_120
EDGES = [float(edge) for edge in range(9)]


def main(arguments: list[str]) -> None:
    """Prints one line per spec, and one for records above the rate."""
    request = float(arguments[0]) if arguments else REQUEST_US
    for what, numbers, words in (("30 floats", 30, 0), ("10 floats, 5 categories", 10, 5)):
        report(f"{what}, counted", numbers, words, 1.0, request)
        report(f"{what}, above the rate", numbers, words, 0.0, request)


def report(what: str, numbers: int, words: int, seconds: float, request: float) -> None:
    """`seconds` pass on the clock of the rate after each hundred records."""
    features = [f"  - {{name: f{at}, type: float}}" for at in range(numbers)]
    features += [f"  - {{name: w{at}, type: category, vocabulary: [a, b, c]}}" for at in range(words)]
    known = [{"name": f"f{at}", "edges": EDGES, "counts": [9] * 10} for at in range(numbers)]
    known += [{"name": f"w{at}", "words": ["a", "b", "c"], "counts": [9, 9, 9, 0]} for at in range(words)]
    scores = [{"name": "score", "edges": [0.1, 0.5, 0.9], "counts": [9] * 4}]
    spec = parse_spec(
        with_statistics(
            "features:\n" + "\n".join(features) + f"\ninput: {{name: a, dtype: float32, shape: [-1, "
            f"{numbers + 3 * words}]}}\noutput: {{name: b, kind: binary, labels: [deny, approve]}}\n",
            json.dumps({"records": 90, "features": known, "scores": scores}),
        )
    )
    assert spec.statistics is not None
    watches = {1: Watch(spec, spec.statistics, None)}
    record = {f"f{at}": at * 0.3 for at in range(numbers)} | {f"w{at}": "abc"[at % 3] for at in range(words)}
    said = [LabelPrediction("approve", "high", 0.9, [Alternative("approve", 0.9), Alternative("deny", 0.1)])]
    best = min(_round(watches, dict(record), said, spec.output, seconds) for _ in range(ROUNDS))
    print(f"{what:<40}{best:>8.2f} us a record {100 * best / request:>8.2f} % of {request:g} us")


def _round(
    watches: dict[int, Watch], record: dict[str, object], said: Sequence[object], output: Output, seconds: float
) -> float:
    now = [0.0]
    drift = Drift(time=lambda: now[0], chance=lambda: 0.5)
    start = time.process_time()
    for at in range(RECORDS):
        drift.take("m", 1, "stable", [record], said, watches, output)
        if at % 100 == 0:
            now[0] += seconds
    return (time.process_time() - start) / RECORDS * 1e6

"""Batches through a real gateway: order, bad rows, limits, shards, formats, and runs that are killed."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pytest
from eventually import eventually
from fake_gateway import Behaviour, FakeGateway
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config
from gateway_target import gateway_target
from paths import ROOT, SUPPORT

from deployer.errors import SpecError, UsageError, WaitTimeout
from deployer.release.batch import run
from deployer.release.batch.job import BatchRequest
from deployer.release.batch.run import BatchResult, State, batch
from deployer.release.batch.tables import Format
from deployer.targets.base import Target

LIMITS = {"max_records": 100, "max_body_bytes": 2000}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModelServer]:
    fake = FakeModelServer()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def target(server: FakeModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    content = config(server.address, limits=LIMITS)
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), content)
    yield gateway_target(process.url, content)
    process.stop()


def lines(path: Path, records: Sequence[object]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def jsonl(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def predict(target: Target, source: Path | str, output: Path, **more: Any) -> BatchResult:
    request = BatchRequest(model="m", inputs=(str(source),), output=output, **more)
    return batch(target, request, lambda _: None)


def test_rows_keep_their_order_and_number_over_files_and_shards(target: Target, tmp_path: Path) -> None:
    for part in range(2):
        lines(tmp_path / f"in-{part}.jsonl", [{"a": 500 * part + n, "b": 1} for n in range(500)])
    found = predict(target, tmp_path / "in-*.jsonl", tmp_path / "out", shards=3, batch=7)
    assert (found.rows, found.bad, found.versions) == (1000, 0, {1: 1000})
    assert [Path(file).name for file in found.files] == [f"part-0000{n}-of-00003.jsonl" for n in range(3)]
    written = [row for file in found.files for row in jsonl(file)]
    assert [row["row"] for row in written] == list(range(1, 1001))
    assert [row["value"] for row in written] == [10.0 * (n + 1) for n in range(1000)]
    assert {len(jsonl(file)) for file in found.files} == {333, 334}


def test_bad_rows_go_to_the_errors_file_with_all_reasons_and_the_rest_is_predicted(
    target: Target, tmp_path: Path
) -> None:
    good = {"a": 1, "b": 2}
    source = lines(
        tmp_path / "in.jsonl",
        [good, {"a": "x"}, good, '{"a": NaN, "b": 1}', "", good, "[1]", '{"a": 1', {"record": good, "expected": 3}],
    )
    with source.open("ab") as opened:
        opened.write(b'{"a": 1, "b": "caf\xe9"}\n')
    found = predict(target, source, tmp_path / "out")
    assert (found.rows, found.bad) == (9, 5)
    assert [row["row"] for row in jsonl(found.files[0])] == [1, 3, 5, 8]
    bad = jsonl(found.errors_files[0])
    assert [(row["row"], row["line"]) for row in bad] == [(2, 2), (4, 4), (6, 7), (7, 8), (9, 10)]
    assert {problem["feature"] for problem in bad[0]["problems"]} == {"a", "b"}
    assert [words in bad[at]["problems"][0]["problem"] for at, words in
            [(1, "NaN"), (2, "object"), (3, "not JSON"), (4, "not UTF-8: byte 0xe9")]] == [True] * 4  # fmt: skip
    assert all(row["file"] == str(source) for row in bad)


def test_more_bad_rows_than_a_gateway_lists_are_all_found(target: Target, tmp_path: Path) -> None:
    records = [{"a": n, "b": 1} if n % 3 == 0 else {"c": 1} for n in range(300)]
    found = predict(target, lines(tmp_path / "in.jsonl", records), tmp_path / "out", batch=100)
    assert found.bad == 200
    assert [row["row"] for row in jsonl(found.files[0])] == [n + 1 for n in range(300) if n % 3 == 0]
    assert all({p["feature"] for p in row["problems"]} >= {"a", "b"} for row in jsonl(found.errors_files[0]))


def test_requests_are_split_by_the_limits_of_the_gateway_and_only_a_record_beyond_them_is_bad(
    target: Target, tmp_path: Path
) -> None:
    records = [{"a": n, "b": 1, "note": "x" * (3000 if n == 5 else 300)} for n in range(20)]
    plain = [{"a": n, "b": 1} for n in range(250)]
    found = predict(target, lines(tmp_path / "in.jsonl", [*records, *plain]), tmp_path / "out", batch=10_000)
    bad = jsonl(found.errors_files[0]) if found.errors_files else []
    reasons = " ".join(problem["problem"] for row in bad for problem in row["problems"])
    assert "larger" in reasons or "bytes" in reasons or "max_body_bytes" in reasons, reasons
    assert 6 in {row["row"] for row in bad}
    assert {row["row"] for row in jsonl(found.files[0])} >= set(range(21, 271))


def test_a_request_that_is_too_large_after_all_is_halved(server: FakeModelServer, tmp_path: Path) -> None:
    small = config(server.address, limits={"max_body_bytes": 200})
    process = GatewayProcess(tmp_path, small)
    try:
        believed = config(server.address, limits={"max_body_bytes": 100_000})
        source = lines(tmp_path / "in.jsonl", [{"a": n, "b": 1} for n in range(50)])
        found = predict(gateway_target(process.url, believed), source, tmp_path / "out")
    finally:
        process.stop()
    assert (found.bad, found.rows) == (0, 50)
    assert [row["row"] for row in jsonl(found.files[0])] == list(range(1, 51))


def test_csv_and_parquet_give_what_json_lines_give(target: Target, tmp_path: Path) -> None:
    records = [{"a": n, "b": n / 4} for n in range(30)]
    table = tmp_path / "in.csv"
    table.write_text("\ufeffa,b\n" + "".join(f"{r['a']},{r['b']}\n" for r in records), "utf-8")
    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "in.parquet", row_group_size=8)
    wanted = [10.0 * (r["a"] + r["b"]) for r in records]
    for source in (table, tmp_path / "in.parquet"):
        for form in Format:
            found = predict(target, source, tmp_path / f"{source.suffix}-{form}", form=form, shards=2, batch=4)
            assert found.bad == 0
            rows: list[dict[str, Any]] = []
            for file in map(Path, found.files):
                if form is Format.PARQUET:
                    rows += parquet.read_table(file).to_pylist()
                elif form is Format.CSV:
                    rows += csv.DictReader(io.StringIO(file.read_text()))
                else:
                    rows += jsonl(file)
            assert [float(row["value"]) for row in rows] == wanted
            assert [int(row["row"]) for row in rows] == list(range(1, 31))
            assert {int(row["version"]) for row in rows} == {1}


def test_a_bad_cell_is_a_bad_row(target: Target, tmp_path: Path) -> None:
    table = tmp_path / "in.csv"
    table.write_bytes(b"a,b\n1,2\nnan,2\n3\n4,\xe9\n5,\n6,7\n")
    found = predict(target, table, tmp_path / "out")
    assert [row["row"] for row in jsonl(found.files[0])] == [1, 6]
    bad = jsonl(found.errors_files[0])
    assert [row["line"] for row in bad] == [3, 4, 5, 6]
    reasons = [row["problems"][0]["problem"] for row in bad]
    assert reasons[0] == "column 'a': nan is not a number"
    assert reasons[1] == "1 values for 2 columns"
    assert "0xe9" in reasons[2]
    assert bad[3]["problems"][0]["feature"] == "b"
    parquet.write_table(pyarrow.table({"a": [1.0, float("nan"), None], "b": [1, 2, 3]}), tmp_path / "in.parquet")
    found = predict(target, tmp_path / "in.parquet", tmp_path / "out2")
    assert [row["row"] for row in jsonl(found.files[0])] == [1]
    assert [row["row"] for row in jsonl(found.errors_files[0])] == [2, 3]


def test_a_version_and_a_label_can_be_asked(target: Target, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", [{"a": 2, "b": 2}])
    assert predict(target, source, tmp_path / "1", version=2).versions == {2: 1}
    assert predict(target, source, tmp_path / "2", label="canary").versions == {2: 1}
    with pytest.raises(SpecError, match="no label nope"):
        predict(target, source, tmp_path / "3", label="nope")
    with pytest.raises(SpecError, match="version 9"):
        predict(target, source, tmp_path / "3", version=9)
    with pytest.raises(SpecError, match="no model other"):
        batch(target, BatchRequest(model="other", inputs=(str(source),), output=tmp_path / "4"), lambda _: None)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.jsonl", b"", "is empty"),
        ("in.jsonl", b"\n \n", "there are no records"),
        ("in.csv", b"\n", "no header"),
        ("in.csv", b"a,a\n1,2\n", "in.csv:1: two columns"),
        ("in.csv", b"a,\xe9\n1,2\n", "in.csv:1: not UTF-8"),
        ("in.parquet", b"PAR1 not", "not Parquet"),
        ("in.txt", b"{}", "not a known format"),
    ],
)
def test_a_file_that_cannot_be_read_as_a_whole_is_an_error_and_leaves_no_predictions(
    target: Target, tmp_path: Path, name: Any, content: Any, words: Any
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError) as raised:
        predict(target, tmp_path / name, tmp_path / "out")
    assert words in f"{raised.value.message} {raised.value.cause}"
    assert not list((tmp_path / "out").glob("part-*"))


def test_a_finished_batch_is_not_done_again_and_another_one_is_not_mixed_into_it(
    target: Target, server: FakeModelServer, tmp_path: Path
) -> None:
    source = lines(tmp_path / "in.jsonl", [{"a": n, "b": 1} for n in range(20)] + [{"a": "x"}])
    first = predict(target, source, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    asked = len(server.seen)
    again = predict(target, source, tmp_path / "out")
    assert (again.resumed, again.requests, again.bad) == (21, 0, 1)
    assert (again.rows, again.versions, again.files) == (first.rows, first.versions, first.files)
    assert len(server.seen) == asked
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    with pytest.raises(UsageError, match="differs in version"):
        predict(target, source, tmp_path / "out", version=2)
    lines(source, [{"a": 1, "b": 1}])
    with pytest.raises(UsageError, match="differs in inputs"):
        predict(target, source, tmp_path / "out")
    assert predict(target, source, tmp_path / "out", restart=True).rows == 1
    assert not list((tmp_path / "out").glob("errors-*"))


def test_only_one_run_writes_to_a_folder(target: Target, tmp_path: Path) -> None:
    from deployer.release.batch.job import locked

    source = lines(tmp_path / "in.jsonl", [{"a": 1, "b": 1}])
    with locked(tmp_path / "out"), pytest.raises(UsageError, match="another run"):
        predict(target, source, tmp_path / "out")


@pytest.mark.parametrize("calls", [1, 17, 33])
def test_a_killed_run_continues_where_it_was_and_writes_nothing_twice(
    target: Target, server: FakeModelServer, tmp_path: Path, calls: int
) -> None:
    records = [{"a": n, "b": 1} if n % 9 else {"a": "x"} for n in range(1000)]
    source = lines(tmp_path / "in.jsonl", records)
    (tmp_path / "gateway.yaml").write_text(target.gateway_config())
    (gateway,) = target.gateways()
    seen = len(server.seen)
    server.delay = 0.02
    program = subprocess.Popen(
        [sys.executable, str(SUPPORT / "gateway_target.py"), gateway.url, str(tmp_path / "gateway.yaml"), str(source),
         str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    eventually(lambda: len(server.seen) - seen >= calls or program.poll() is not None, "the calls")
    program.send_signal(signal.SIGKILL)
    assert program.wait(20) == -signal.SIGKILL
    server.delay = 0.0
    committed = [json.loads(p.read_text())["rows"] for p in sorted((tmp_path / "out").glob(".part-*.journal"))]
    seen = len(server.seen)
    found = predict(target, source, tmp_path / "out", batch=10, shards=2)
    assert found.resumed == sum(committed), "what was committed is not asked again"
    assert sum(call.rows for call in server.seen[seen:]) <= 1000 - found.resumed
    if calls > 20:
        assert found.resumed > 0
    written = [row for file in found.files for row in jsonl(file)]
    assert [row["row"] for row in written] == [n + 1 for n in range(1000) if n % 9]
    assert [row["value"] for row in written] == [10.0 * (n + 1) for n in range(1000) if n % 9]
    bad = [row["row"] for file in found.errors_files for row in jsonl(file)]
    assert bad == [n + 1 for n in range(1000) if n % 9 == 0]
    assert not list((tmp_path / "out").glob(".*draft*"))


def test_what_is_buffered_does_not_grow_with_the_input(target: Target, tmp_path: Path) -> None:
    most = {}
    for rows in (400, 4000):
        source = lines(tmp_path / f"{rows}.jsonl", [{"a": n, "b": 1} for n in range(rows)])
        most[rows] = 0

        def report(state: State, rows: int = rows) -> None:
            most[rows] = max(most[rows], state.read - state.written)

        request = BatchRequest(
            model="m", inputs=(str(source),), output=tmp_path / f"out-{rows}", batch=10, concurrency=3
        )
        batch(target, request, lambda _: None, report)
    assert 10 <= most[4000] <= 10 * (run.AHEAD * 3 + 1)


class FakeTime:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.at = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


FAKE_MODEL = {"specs": {"1": {
    "features": [{"name": "x", "type": "int"}],
    "input": {"name": "x", "dtype": "int64", "shape": [-1, 1]},
    "output": {"name": "y", "kind": "classification", "labels": ["0", "1", "2"]},
}}}  # fmt: skip


def through_fake(gateway: FakeGateway, clock: FakeTime, folder: Path, rows: int, **more: Any) -> BatchResult:
    """A batch through the fake gateway, by fake time."""
    content: dict[str, Any] = {"version": "v1", "models": {"m": FAKE_MODEL}, "backends": {"static": ["127.0.0.1:1"]}}
    source = lines(folder / "in.jsonl", [{"x": n} for n in range(rows)])
    request = BatchRequest(model="m", inputs=(str(source),), output=folder / "out", **more)
    return batch(
        gateway_target(gateway.url, content), request, lambda _: None, clock=run.Time(now=clock.now, sleep=clock.sleep)
    )


def test_a_busy_gateway_makes_it_wait_as_long_as_it_says_and_loses_nothing(tmp_path: Path) -> None:
    clock = FakeTime()
    with FakeGateway(Behaviour(busy=5)) as gateway:
        found = through_fake(gateway, clock, tmp_path, 200, batch=10, concurrency=2)
    assert (found.refusals, found.bad, found.requests) == (5, 0, 25)
    assert clock.at == 5 * 2, "one request at a time, each pause as Retry-After says"
    assert [row["row"] for row in jsonl(found.files[0])] == list(range(1, 201))
    assert [row["top_prediction"] for row in jsonl(found.files[0])] == [str(n % 3) for n in range(200)]


def test_a_gateway_that_stays_busy_ends_the_run_and_the_next_one_continues(tmp_path: Path) -> None:
    clock = FakeTime()
    with FakeGateway(Behaviour(busy=10**6)) as gateway:
        with pytest.raises(WaitTimeout, match="no request succeeded for 60 s; the last response was 429"):
            through_fake(gateway, clock, tmp_path, 50, batch=10, patience=60.0)
        gateway.behaviour.busy = 0
        source = (tmp_path / "in.jsonl").stat()
        lines(tmp_path / "in.jsonl", [{"x": n} for n in range(50)])
        os.utime(tmp_path / "in.jsonl", ns=(source.st_atime_ns, source.st_mtime_ns))
        content = {"version": "v1", "models": {"m": FAKE_MODEL}, "backends": {"static": ["127.0.0.1:1"]}}
        found = predict(gateway_target(gateway.url, content), tmp_path / "in.jsonl", tmp_path / "out", batch=10)
    assert (found.rows, found.bad) == (50, 0)


def test_the_rate_is_kept(tmp_path: Path) -> None:
    clock = FakeTime()
    with FakeGateway() as gateway:
        found = through_fake(gateway, clock, tmp_path, 1000, max_rate=20.0)
    assert found.requests == 50, "no request holds more than a second's rows"
    assert clock.at == pytest.approx(49.0), "by fake time: 1000 rows at 20 rows/s, the first at once"

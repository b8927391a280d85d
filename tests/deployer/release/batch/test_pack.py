"""Rows packed into requests."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deployer.records.rows import Row
from deployer.release.batch.pack import Limits, body, pack


def rows_of(sizes: list[int]) -> list[Row]:
    return [
        Row(number=n, file=Path("f"), line=n, record=json.dumps({"a": "x" * size}).encode())
        for n, size in enumerate(sizes, 1)
    ]


@given(st.lists(st.integers(0, 60), max_size=60), st.integers(1, 7), st.integers(60, 300))
def test_requests_keep_order_and_limits(sizes: list[int], records: int, size: int) -> None:
    rows = rows_of(sizes)
    chunks = list(pack(rows, Limits(records=records, size=size)))
    assert [row for chunk in chunks for row in chunk] == rows
    for chunk in chunks:
        assert len(chunk) <= records
        assert len(chunk) == 1 or len(body(chunk)) <= size
        assert [len(r["a"]) for r in json.loads(body(chunk))["records"]] == [sizes[row.number - 1] for row in chunk]

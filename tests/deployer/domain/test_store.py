"""Pure rules of the store."""

from __future__ import annotations

import pytest

from deployer.domain.store import (
    FileFact,
    SignatureFact,
    TensorFact,
    find_faults,
    next_version,
    parse_size,
    plan_prune,
    size_text,
    version_of,
)

ROWS = TensorFact(dtype="float32", shape=(-1, 4))


@pytest.mark.parametrize(
    ("name", "version"),
    [("3", 3), ("+7", 7), (" 9 ", 9), ("0002", 2), ("-5", -5), ("0", 0), ("3.0", None), ("1_0", None), ("0x5", None)],
)
def test_names_are_read_as_the_server_reads_them(name: str, version: int | None) -> None:
    assert version_of(name) == version


def test_gaps_are_not_filled() -> None:
    assert next_version([]) == 1
    assert next_version([1, 5]) == 6
    assert next_version([-3]) == 1


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 500_000_000), ("1.5 GiB", 1_610_612_736), ("42", 42), ("10kB", 10_000), ("1K", 1000)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "5 i", "-1", "1e6", "5 PB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number with an optional unit"):
        parse_size(text)


def test_size_for_a_person() -> None:
    assert [size_text(n) for n in (999, 1000, 12_345_678)] == ["999 B", "1.0 kB", "12.3 MB"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "problem"),
    [
        ({"x": ROWS}, {"y": ROWS}, ""),
        ({}, {"y": ROWS}, "the signature has no input"),
        ({"x": TensorFact(dtype="float32", shape=(1, 4))}, {"y": ROWS}, "input 'x' has a fixed dimension 0 (1)"),
        ({"x": ROWS, "k": TensorFact(dtype="int32", shape=())}, {"y": ROWS}, "input 'k' is a scalar"),
        ({"x": ROWS}, {"y": ROWS, "loss": TensorFact(dtype="float32", shape=())}, "output 'loss' is a scalar"),
        ({"x": ROWS}, {"y": TensorFact(dtype="float32", shape=None)}, "output 'y' has an unknown rank"),
    ],
)
def test_batching_needs_an_unknown_dimension_0_everywhere(
    inputs: dict[str, TensorFact], outputs: dict[str, TensorFact], problem: str
) -> None:
    assert SignatureFact(inputs=inputs, outputs=outputs).batching_problem().startswith(problem)
    assert bool(SignatureFact(inputs=inputs, outputs=outputs).batching_problem()) == bool(problem)


def test_faults_name_every_file() -> None:
    want = {name: FileFact(size=1, sha256="a" * 64) for name in ("gone", "long", "same", "flipped")}
    have = want | {"long": FileFact(size=2, sha256="b" * 64), "flipped": FileFact(size=1, sha256="b" * 64)}
    have["new"] = have["same"]
    del have["gone"]
    faults = {fault.path: fault.problem for fault in find_faults(want, have)}
    assert faults["gone"] == "is missing"
    assert faults["new"] == "is not in the manifest"
    assert faults["long"] == "has 2 bytes instead of 1"
    assert "sha256 bbbb" in faults["flipped"]
    assert "same" not in faults


def test_prune_keeps_the_newest_and_whatever_is_in_use() -> None:
    plan = plan_prune([1, 2, 3, 4, 5, 6], keep=2, protected={2: "label stable", 6: "label canary"})
    assert plan.remove == (1, 3, 4)
    assert plan.keep == {2: "label stable", 5: "one of the newest 2", 6: "label canary"}


def test_prune_never_empties_a_store() -> None:
    assert plan_prune([4], keep=3, protected={}).remove == ()
    assert plan_prune([], keep=1, protected={}).remove == ()
    with pytest.raises(ValueError, match="at least 1"):
        plan_prune([1, 2], keep=0, protected={})

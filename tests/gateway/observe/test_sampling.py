"""What is kept of records: the share, the bound, and nothing of masked fields."""

from __future__ import annotations

import json
import random
from pathlib import Path

from eventually import eventually

from gateway.observe.sampling import OF_ONE_REQUEST, Keep, Sampler, file_name, masked


def keep(**changes: object) -> Keep:
    given = {"folder": "s", "share": 1.0, "max_bytes": 1 << 18, "mask": frozenset[str](), **changes}
    return Keep(**given)  # type: ignore[arg-type]


def test_masked_fields_keep_their_kind_and_lose_their_values_at_every_depth() -> None:
    record = {
        "age": 41, "height": 1.8, "member": True, "name": "Ada", "none": None, "tags": ["x", 3],
        "home": {"name": {"first": "Ada", "codes": [1, 2]}, "city": "Ulm"}, "kids": [{"name": "Bo"}],
    }  # fmt: skip
    names = frozenset({"age", "height", "member", "name", "none", "tags"})
    assert masked(record, names) == {
        "age": 0, "height": 0.0, "member": False, "name": "masked", "none": None, "tags": ["masked", 0],
        "home": {"name": {"first": "masked", "codes": [0, 0]}, "city": "Ulm"}, "kids": [{"name": "masked"}],
    }  # fmt: skip
    assert masked(record, frozenset()) is record


def test_the_share_holds_for_single_records_and_for_batches(tmp_path: Path) -> None:
    dice = random.Random(3)
    for size in (1, 10):
        sampler = Sampler(tmp_path / str(size), chance=dice.random)
        sampler.configure(keep(share=0.1))
        for _ in range(4000 // size):
            sampler.add("m", [{"a": 1}] * size)
        chosen = sum(sampler.kept.values()) + sampler.dropped
        assert 300 < chosen < 500
        sampler.close()


def test_files_are_bounded_and_the_newest_records_stay(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path)
    sampler.configure(keep())
    folder = tmp_path / "s"
    for number in range(1000):
        sampler.add("m", [{"number": number, "text": "x" * 2000}])
        if number % 50 == 0:
            eventually(lambda: sampler._lines.empty(), "the writer keeps up")
    sampler.close()
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sizes.keys() == {"m.jsonl", "m.1.jsonl"}
    assert sum(sizes.values()) <= 1 << 18
    numbers = [
        json.loads(line)["record"]["number"]
        for name in ("m.1.jsonl", "m.jsonl")
        for line in (folder / name).read_text().splitlines()
    ]
    assert numbers == list(range(numbers[0], 1000))
    assert sampler.dropped == 0


def test_what_is_too_long_or_cannot_be_written_is_counted(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("no folder")
    sampler = Sampler(tmp_path)
    sampler.configure(keep())
    sampler.add("m", [{"picture": "x" * (1 << 17)}])
    assert sampler.dropped == 1
    sampler.add("m", [{"a": 1}])
    eventually(lambda: sampler.dropped == 2, "the record that could not be written is counted")
    sampler.add("m", [{"a": 1}] * 1000)
    assert sampler.kept[("m",)] == 1 + OF_ONE_REQUEST
    sampler.configure(None)
    sampler.add("m", [{"a": 1}])
    assert sampler.kept[("m",)] == 1 + OF_ONE_REQUEST
    sampler.close()


def test_a_model_name_is_one_file_whatever_it_is() -> None:
    names = ["m", "..", "ä/b", "ü" * 200, "ü" * 201, "a b"]
    found = [file_name(name) for name in names]
    assert len(set(found)) == len(names)
    assert all("/" not in name and len(name) < 240 for name in found)

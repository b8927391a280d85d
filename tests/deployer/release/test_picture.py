"""The picture of `deployer predict`: which records it shows, what the matrix counts, and what it takes for an image."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deployer.cli.__main__ import main
from deployer.errors import UsageError
from deployer.records.endpoint import Value
from deployer.records.files import Sample
from deployer.release import picture
from deployer.release.picture import OTHER, choose, confusion, draw, image_of, judged
from deployer.release.predict import Predicted, Prediction
from deployer.tools import pictures


def png(level: int, size: int = 4) -> str:
    file = io.BytesIO()
    Image.fromarray(np.full((size, size), level, np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def predicted(*pairs: tuple[Value, object], score: float | None = 0.9) -> Predicted:
    answers = tuple(
        Prediction(row=row, prediction=said, version=1, score=score, expected=expected)
        for row, (said, expected) in enumerate(pairs, 1)
    )
    return Predicted(model="m", label="", through="g", versions={1: len(answers)}, accuracy=None, answers=answers)


def samples(found: Predicted, **content: Any) -> dict[int, Sample]:
    return {one.row: Sample(record=content, expected=one.expected) for one in found.answers}


def test_the_matrix_counts_records_by_expected_and_predicted_class() -> None:
    found = predicted(("cat", "cat"), ("dog", "cat"), ("dog", "dog"), ("dog", "cat"), ("cat", None))
    matrix = confusion(judged(found, samples(found)))
    assert matrix.classes == ("cat", "dog")
    assert matrix.counts == ((1, 2), (0, 1))


def test_classes_that_are_numbers_are_in_their_order_and_expected_may_be_an_index() -> None:
    found = predicted(((0.1, 0.7, 0.2), 1), ((0.5, 0.3, 0.2), 2), ("10", 10), ("9", "9"))
    matrix = confusion(judged(found, samples(found)))
    assert matrix.classes == ("0", "1", "2", "9", "10")
    assert sum(matrix.counts[at][at] for at in range(5)) == 3
    assert matrix.counts[2][0] == 1


def test_rare_classes_share_a_row_and_no_record_is_lost() -> None:
    pairs = [(f"c{at}", f"c{at}") for at in range(30) for _ in range(30 - at)] + [("c29", "c0")]
    found = predicted(*pairs)
    matrix = confusion(judged(found, samples(found)))
    assert len(matrix.classes) == picture.CLASSES
    assert matrix.classes[-1] == OTHER
    assert sum(map(sum, matrix.counts)) == len(pairs)
    assert matrix.counts[matrix.classes.index("c0")][-1] == 1


@pytest.mark.parametrize(
    ("wrong", "right", "expected"), [(2, 40, (2, 22)), (40, 2, (22, 2)), (40, 40, (12, 12)), (0, 3, (0, 3))]
)
def test_both_kinds_are_seen_wrong_ones_first(wrong: int, right: int, expected: tuple[int, int]) -> None:
    found = predicted(*[("a", "a")] * right, *[("a", "b")] * wrong)
    shown = choose(judged(found, samples(found)))
    assert (sum(not one.right for one in shown), sum(one.right for one in shown)) == expected
    assert [one.right for one in shown] == sorted(one.right for one in shown)


@pytest.mark.parametrize(
    ("content", "shape"),
    [
        ({"age": 3, "pic": png(9)}, (4, 4, 3)),
        ({"pic": "data:image/png;base64," + png(9)}, (4, 4, 3)),
        ({"pic": {"b64": png(9)}}, (4, 4, 3)),
        ({"pixels": [[0, 1], [2, 3]]}, (2, 2)),
        ({"pixels": [[[0], [1]], [[2], [3]]]}, (2, 2)),
        ({"pixels": [[[0, 1, 2]], [[3, 4, 255]]]}, (2, 1, 3)),
        ({"v": [1, 2, 3], "name": "Aaaa", "ragged": [[1], [2, 3]], "words": [["a", "b"]], "none": None}, None),
        ({"pic": png(9)[:30]}, None),
        ({}, None),
    ],
)
def test_what_is_an_image(content: dict[str, Any], shape: tuple[int, ...] | None) -> None:
    found = image_of(content)
    assert (None if found is None else found.shape) == shape


@pytest.mark.parametrize("suffix", pictures.SUFFIXES)
@pytest.mark.parametrize("content", [{"pic": png(200)}, {"name": "$a_^ Zürich", "n": 1.5, "more": None}])
def test_the_picture_is_drawn(tmp_path: Path, content: dict[str, Any], suffix: str) -> None:
    found = predicted(*[("a", "a")] * 8, ("$b_^", "a"), ("a", "a class with a very long name"))
    path = tmp_path / "folder" / f"p{suffix}"
    draw(found, samples(found, **content), path)
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")


def test_right_is_green_and_wrong_is_red(tmp_path: Path) -> None:
    path = tmp_path / "p.svg"
    draw(found := predicted(("a", "a"), ("a", "a")), samples(found, x=1), path)
    assert picture.RIGHT in path.read_text("utf-8")
    assert picture.WRONG not in path.read_text("utf-8")
    draw(found := predicted(("a", "b"), ("b", "a")), samples(found, x=1), path)
    assert picture.WRONG in path.read_text("utf-8")
    assert picture.RIGHT not in path.read_text("utf-8")


def test_numbers_and_records_without_an_expected_class_are_refused() -> None:
    with pytest.raises(UsageError, match="predicts numbers"):
        judged(found := predicted((1.5, 1.5), (2.0, 3)), samples(found))
    with pytest.raises(UsageError, match="no record has an expected one"):
        judged(found := predicted(("a", None)), samples(found))


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [
        ("p.gif", {"record": {}, "expected": "a"}, "p.gif is no picture"),
        ("p.png", {"record": {}}, "no record has an expected one"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_anything_is_sent(
    name: str, line: object, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)  # where there is no release, which would be the next error
    Path("r.jsonl").write_text(json.dumps(line))
    assert main(["predict", "m", "--records", "r.jsonl", "--picture", name]) == 2
    assert told in capsys.readouterr().err

"""A picture of predictions with expected classes: records with a right one in green and a wrong one in red, beside the
confusion matrix."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from deployer.errors import UsageError
from deployer.records.expected import label_of
from deployer.records.files import Sample
from deployer.release.predict import Predicted, Prediction
from deployer.tools import pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]

RIGHT, WRONG, EMPTY = "#16a34a", "#dc2626", "#f1f5f9"
COLUMNS: Final = 6
SHOWN: Final = 24
"""Records; wrong ones take up to half of the places, so that both kinds are seen."""
CLASSES: Final = 20
"""Classes of the matrix; the rarest of more share `OTHER`."""
OTHER: Final = "(other)"
FEATURES: Final = 11
"""Lines of a record that is not a picture."""
LINE: Final = 25
LABEL: Final = 20
"""Characters."""
_STARTS: Final = (b"\x89PNG", b"\xff\xd8\xff")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A record with an expected class; `score` is that of the prediction, if the model gives one."""

    row: int
    content: Mapping[str, Any]
    predicted: str
    expected: str
    score: float | None

    @property
    def right(self) -> bool:
        """Whether the prediction is the expected one."""
        return self.predicted == self.expected


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """`counts[i][j]` records of class `classes[i]` were predicted to be `classes[j]`."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def require_expected(expected: Iterable[object]) -> None:
    """Errors: UsageError when every expected value is None."""
    if all(one is None for one in expected):
        raise UsageError(
            "a picture shows right and wrong predictions, and no record has an expected one",
            hint='write lines as {"record": {…}, "expected": "CLASS"}',
        )


def judged(found: Predicted, samples: Mapping[int, Sample]) -> tuple[Judged, ...]:
    """The predictions that have an expected class; `samples` are the records by number.

    Errors: UsageError when there is none, or when the model does not predict classes.
    """
    known = [one for one in found.answers if one.expected is not None]
    require_expected(one.expected for one in known)
    if not all(map(_is_class, known)):
        raise UsageError(
            f"{found.model} predicts numbers, and a picture needs classes", hint="--out FILE.csv writes the numbers"
        )
    return tuple(
        Judged(
            row=one.row,
            content=samples[one.row].record or samples[one.row].inputs or {},
            predicted=label_of(one.prediction),
            expected=label_of(one.expected),
            score=one.score,
        )
        for one in known
    )


def _is_class(one: Prediction) -> bool:
    """A label, or of a model server the scores of several classes."""
    return isinstance(one.prediction, str) or (isinstance(one.prediction, tuple) and len(one.prediction) > 1)


def choose(records: Sequence[Judged], places: int = SHOWN) -> tuple[Judged, ...]:
    """The records to show, wrong ones first and each kind in the order of the file."""
    wrong, right = [one for one in records if not one.right], [one for one in records if one.right]
    few = max(places // 2, places - len(right))
    wrong = wrong[:few]
    return (*wrong, *right[: places - len(wrong)])


def confusion(records: Sequence[Judged], most: int = CLASSES) -> Confusion:
    """The matrix, with classes in the order of their names, or of their numbers."""
    counted = Counter(label for one in records for label in (one.expected, one.predicted))
    common = [label for label, _ in counted.most_common(most if len(counted) <= most else most - 1)]
    classes = sorted(common, key=(lambda label: (int(label), "")) if all(map(str.isdecimal, common)) else _by_name)
    if len(common) < len(counted):
        classes.append(OTHER)
    place = {label: at for at, label in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), int)
    for one in records:
        counts[place.get(one.expected, len(classes) - 1), place.get(one.predicted, len(classes) - 1)] += 1
    return Confusion(classes=tuple(classes), counts=tuple(tuple(map(int, row)) for row in counts))


def _by_name(label: str) -> tuple[int, str]:
    return 0, label


def draw(found: Predicted, samples: Mapping[int, Sample], path: Path) -> None:
    """Write the picture; `samples` are the records by number. Errors: as for `judged` and `pictures.blank`."""
    records = judged(found, samples)
    shown, matrix = choose(records), confusion(records)
    rows = -(-len(shown) // COLUMNS)
    side = max(4.5, 0.45 * len(matrix.classes) + 1.5)
    figure = pictures.blank(path, 1.7 * COLUMNS + side, max(1.9 * rows + 0.8, side))
    left, beside = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.7 * COLUMNS, side))[0]
    cells = left.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in cells[len(shown) :]:
        axes.set_axis_off()
    for axes, one in zip(cells, shown, strict=False):
        _record(axes, one)
    _matrix(beside.subplots(), matrix)
    hits = sum(one.right for one in records)
    more = f"; {len(shown)} of them shown, wrong ones first" if len(shown) < len(records) else ""
    figure.suptitle(
        f"{found.model}: {hits} of {len(records)} records correct ({100 * hits / len(records):.1f} %){more}",
        fontsize=12, parse_math=False,
    )  # fmt: skip
    pictures.save(figure, path)


def _record(axes: Axes, one: Judged) -> None:
    colour = RIGHT if one.right else WRONG
    score = "" if one.score is None else f" {one.score:.2f}"
    title = f"{_short(one.predicted)}{score}" + ("" if one.right else f"\nnot {_short(one.expected)}")
    axes.set_title(title, color=colour, fontsize=9, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2)
    axes.set_xlabel(f"record {one.row}", fontsize=7, color="#64748b")
    image = image_of(one.content)
    if image is not None:
        axes.imshow(image, cmap="gray")
        return
    lines = [_short(f"{name}: {_value(value)}", LINE) for name, value in one.content.items()]
    if len(lines) > FEATURES:
        lines[FEATURES - 1 :] = [f"and {len(lines) - FEATURES + 1} more"]
    axes.text(
        0.05, 0.95, "\n".join(lines), fontsize=7, va="top", transform=axes.transAxes, parse_math=False, clip_on=True
    )


def _matrix(axes: Axes, found: Confusion) -> None:
    from matplotlib.colors import to_rgb

    counts = np.array(found.counts)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    strength = (0.25 + 0.75 * share)[..., None]
    colour = np.where(np.eye(len(counts), dtype=bool)[..., None], to_rgb(RIGHT), to_rgb(WRONG))
    cells = np.where(counts[..., None] > 0, strength * colour + (1 - strength), to_rgb(EMPTY))
    axes.imshow(cells)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = share[row, column] > 0.5
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color="white" if dark else "black")
    names = [_short(label) for label in found.classes]
    turned = 90 if max(map(len, names)) > 3 else 0
    axes.set_xticks(range(len(names)), names, fontsize=8, rotation=turned, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("expected")
    axes.set_title("confusion matrix: records", fontsize=10)


def image_of(content: Mapping[str, Any]) -> Array | None:
    """The first picture of a record: a PNG or JPEG in base64, or rows of pixels (of 1, 3 or 4 channels); else None."""
    return next((image for value in content.values() if (image := _image(value)) is not None), None)


def _image(value: object) -> Array | None:
    match value:
        case {"b64": str(text), **others} if not others:
            return _unpacked(text)
        case str(text):
            return _unpacked(text.partition(";base64,")[2] if text.startswith("data:") else text)
        case [[_, *_], *_]:
            return _pixels(value)
    return None


def _unpacked(text: str) -> Array | None:
    try:
        data = base64.b64decode(text.translate({ord("-"): "+", ord("_"): "/"}) + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    if not data.startswith(_STARTS):
        return None
    from PIL import Image, UnidentifiedImageError  # matplotlib needs it

    try:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as opened:
            opened.draft("RGB", (256, 256))
            return np.asarray(opened.convert("RGB"))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None


def _pixels(value: object) -> Array | None:
    try:
        found = np.array(value, float)
    except (TypeError, ValueError):
        return None
    if found.ndim == 3 and found.shape[2] == 1:
        found = found[..., 0]
    if not (found.ndim == 2 or (found.ndim == 3 and found.shape[2] in (3, 4))) or not np.isfinite(found).all():
        return None
    if found.ndim == 2:
        return found
    low, high = min(found.min(), 0.0), max(found.max(), 1.0)
    scaled: Array = (found - low) / (high - low)
    return scaled


def _value(value: object) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if isinstance(value, float) else msgspec.json.encode(value).decode()


def _short(text: str, most: int = LABEL) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"

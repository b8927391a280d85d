"""Lists of any length, in columns whose number the spec fixes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.spec.base import FeatureBase, finite
from gateway.spec.numbers import Transformed
from gateway.spec.words import Vocabulary, WordMissing


class NumberItems(Transformed, frozen=True, kw_only=True, tag_field="type", tag="number"):
    """Elements that are numbers; the transforms apply to each, before padding."""

    def __post_init__(self) -> None:
        self.check_transforms("items")
        if self.bucketize is not None and self.bucketize.encoding != "index":
            raise ValueError("items: bucketize of a list needs encoding index")


class CategoryItems(Vocabulary, frozen=True, kw_only=True, tag_field="type", tag="category"):
    """Elements that are words. `one_hot` makes the list multi-hot: 1 in the column of every word that it has."""

    def __post_init__(self) -> None:
        self.check_words("items")


class ListFeature(FeatureBase, frozen=True, kw_only=True, tag="list"):
    """A list of numbers or words. `length` columns, filled with `pad` where the list is shorter.

    Of a longer list, `truncate` keeps the first elements (end: the end is cut) or the last ones (start), or refuses it.
    A multi-hot list has one column per word, and neither length nor pad.
    """

    items: NumberItems | CategoryItems
    length: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    pad: float = 0.0
    truncate: Literal["end", "start", "error"] = "error"
    default: list[float | str] | None = None
    missing: WordMissing | None = None

    @property
    def multi_hot(self) -> bool:
        """Whether every word has its column."""
        return isinstance(self.items, CategoryItems) and self.items.encoding == "one_hot"

    @property
    def columns(self) -> int:
        if self.multi_hot and isinstance(self.items, CategoryItems):
            return self.items.word_columns
        return self.length or 0

    def __post_init__(self) -> None:
        who = f"feature '{self.name}'"
        self.check_presence(self.default, self.missing)
        finite(pad=self.pad)
        kind = float if isinstance(self.items, NumberItems) else str
        if not all(isinstance(value, kind) for value in self.default or ()):
            raise ValueError(f"{who}: default must hold {'numbers' if kind is float else 'words'} only")
        if self.missing is not None and self.missing.value is not None:
            raise ValueError(f"{who}: a missing list is empty; missing takes flag only")
        if self.multi_hot and (self.length is not None or self.pad != 0 or self.truncate != "error"):
            raise ValueError(f"{who}: a multi-hot list has one column per word; length, pad and truncate do not apply")
        if not self.multi_hot and self.length is None:
            raise ValueError(f"{who}: a list needs length, the number of its columns")

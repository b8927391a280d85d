"""Features that are text: categories, crosses of categories, and strings that the model takes apart itself."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from msgspec import Meta

from gateway.spec.base import Described, FeatureBase, Name, Section, unique

Buckets = Annotated[int, Meta(ge=2, le=2**31 - 1)]
Hash = Literal["crc32", "farmhash"]
Encoding = Literal["one_hot", "index", "hash_bucket"]

ONE_HOT_MAX = 100_000
"""Columns of a one_hot of buckets: more is a mistake."""


class Text(Section, frozen=True, kw_only=True):
    """What is done to text before it is looked up, hashed or sent: `unicode`, `case`, `strip`, in this order.

    After `case` the text is brought to its Unicode form once more, because changing the case can leave it.
    """

    unicode: Literal["NFC", "NFKC"] | None = None
    case: Literal["lower", "upper", "fold"] | None = None
    strip: bool = False

    def apply(self, text: str) -> str:
        """The normal form of a text."""
        if self.unicode is not None:
            text = unicodedata.normalize(self.unicode, text)
        if self.case is not None:
            text = {"lower": str.lower, "upper": str.upper, "fold": str.casefold}[self.case](text)
            if self.unicode is not None:
                text = unicodedata.normalize(self.unicode, text)
        return text.strip() if self.strip else text


class WordMissing(Section, frozen=True, kw_only=True):
    """null, or no key. `value` stands in; with `flag` alone the columns are 0, and a string is empty.

    `flag` adds a column that is 1 where the value was missing. A string has none: its tensor takes text only.
    """

    value: str | None = None
    flag: bool = False

    def __post_init__(self) -> None:
        if self.value is None and not self.flag:
            raise ValueError("missing needs value or flag")


class BoolMissing(Section, frozen=True, kw_only=True):
    """null, or no key. `value` stands in; with `flag` alone the column is 0."""

    value: bool | None = None
    flag: bool = False

    def __post_init__(self) -> None:
        if self.value is None and not self.flag:
            raise ValueError("missing needs value or flag")


class BoolFeature(FeatureBase, frozen=True, kw_only=True, tag="bool"):
    """true or false, as 1 or 0."""

    default: bool | None = None
    missing: BoolMissing | None = None

    def __post_init__(self) -> None:
        self.check_presence(self.default, self.missing)


VocabularyFile = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.txt$", max_length=100)]
"""The name of a file beside features.yaml."""


class Vocabulary(Section, frozen=True, kw_only=True):
    """The keys that say how a word becomes numbers; features and the items of lists have them.

    `unknown` says what becomes of a word outside the vocabulary: a word of it stands in, or `error` (also without it).
    `vocabulary_file` names a file beside the spec with one word a line, where they are too many to stand in it.
    """

    vocabulary: list[str] | None = None
    vocabulary_file: VocabularyFile | None = None
    encoding: Encoding = "one_hot"
    buckets: Buckets | None = None
    hash: Hash = "crc32"
    unknown: str | None = None
    text: Text | None = None

    @property
    def stand_in(self) -> str | None:
        """The word that stands in for unknown ones; None when they are refused."""
        return None if self.unknown == "error" else self.unknown

    @property
    def word_columns(self) -> int:
        """Columns of one word."""
        return len(self.vocabulary or ()) if self.encoding == "one_hot" else 1

    @property
    def largest(self) -> int:
        """The largest number that the encoding gives; 0 where the words are in a file, which counts when it is read."""
        if self.vocabulary_file is not None:
            return 0
        return 1 if self.encoding == "one_hot" else (self.buckets or len(self.vocabulary or ())) - 1

    def check_words(self, who: str) -> None:
        """That the keys do not contradict each other. Errors: ValueError that begins with `who`."""
        if self.encoding == "hash_bucket":
            if self.buckets is None:
                raise ValueError(f"{who}: encoding hash_bucket needs buckets")
            if self.vocabulary is not None or self.vocabulary_file is not None or self.unknown is not None:
                raise ValueError(f"{who}: encoding hash_bucket takes any word; vocabulary and unknown do not apply")
            return
        if self.buckets is not None:
            raise ValueError(f"{who}: buckets belongs to encoding hash_bucket, not {self.encoding}")
        if self.hash != "crc32":
            raise ValueError(f"{who}: hash belongs to encoding hash_bucket, not {self.encoding}")
        if self.vocabulary_file is not None:
            if self.vocabulary is not None:
                raise ValueError(f"{who}: vocabulary and vocabulary_file exclude each other; keep one of the two")
            if self.encoding != "index":
                raise ValueError(
                    f"{who}: vocabulary_file needs encoding index; {self.encoding} would have too many columns"
                )
            return
        if not self.vocabulary:
            raise ValueError(f"{who}: encoding {self.encoding} needs a vocabulary that is not empty")
        check_vocabulary(self.vocabulary, self, who)


def check_vocabulary(words: Collection[str], spec: Vocabulary, who: str) -> None:
    """That the words are unique, in their normal form, and have the one that stands in. Errors: ValueError."""
    if not isinstance(words, Mapping):
        unique(words, f"{who}: vocabulary")
    if spec.unknown == "error" and "error" in words:
        raise ValueError(f"{who}: unknown 'error' is ambiguous, the vocabulary has that word; leave unknown out")
    if spec.stand_in is not None and spec.stand_in not in words:
        raise ValueError(f"{who}: unknown '{spec.stand_in}' is not in the vocabulary")
    for word in words if spec.text is not None else ():
        normal = spec.text.apply(word) if spec.text is not None else word
        if normal != word and word != spec.stand_in:
            spelled = (word, normal)
            if unicodedata.normalize("NFKC", word) == unicodedata.normalize("NFKC", normal):
                spelled = (ascii(word)[1:-1], ascii(normal)[1:-1])  # the two look alike
            raise ValueError(f"{who}: '{spelled[0]}' of the vocabulary is never found, text makes '{spelled[1]}' of it")


class CategoryFeature(Vocabulary, Described, frozen=True, kw_only=True, tag_field="type", tag="category"):
    """One of a set of words: one column per word (one_hot), its position (index), or a hash of any word (hash_bucket).

    `hash` is CRC-32, or TensorFlow's own hash of strings (farmhash).
    """

    name: Name
    field: Name | None = None
    required: bool | None = None
    default: str | None = None
    missing: WordMissing | None = None

    @property
    def columns(self) -> int:
        return self.word_columns

    def __post_init__(self) -> None:
        who = f"feature '{self.name}'"
        self.check_presence(self.default, self.missing)
        self.check_words(who)
        value = self.missing.value if self.missing else None
        for key, word in (("default", self.default), ("missing.value", value)):
            if self.vocabulary is not None and word is not None and word not in self.vocabulary:
                raise ValueError(f"{who}: {key} '{word}' is not in the vocabulary")


class CrossFeature(FeatureBase, frozen=True, kw_only=True, tag="cross"):
    """Two or more categories as one: the hash of their words together, as a number (index) or as columns (one_hot).

    `farmhash` is what Keras' HashedCrossing layer makes of strings; `crc32` is the hash of the words joined by `_X_`.
    """

    of: Annotated[list[Name], Meta(min_length=2, max_length=8)]
    buckets: Buckets
    hash: Hash = "crc32"
    encoding: Literal["one_hot", "index"] = "index"
    text: Text | None = None
    missing: WordMissing | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.of)

    @property
    def columns(self) -> int:
        return self.buckets if self.encoding == "one_hot" else 1

    def __post_init__(self) -> None:
        who = f"feature '{self.name}'"
        self.check_presence(None, self.missing)
        if self.field is not None:
            raise ValueError(f"{who}: 'of' names the fields, field does not apply")
        if self.encoding == "one_hot" and self.buckets > ONE_HOT_MAX:
            raise ValueError(f"{who}: one_hot of {self.buckets} buckets; use encoding index")


class StringFeature(FeatureBase, frozen=True, kw_only=True, tag="string"):
    """Text that the model itself takes apart: an element of a string tensor, UTF-8."""

    default: str | None = None
    text: Text | None = None
    missing: WordMissing | None = None

    def __post_init__(self) -> None:
        self.check_presence(self.default, self.missing)
        if self.flag:
            raise ValueError(f"feature '{self.name}': a tensor of strings has no column for missing.flag; use value")

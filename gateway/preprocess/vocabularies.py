"""Vocabularies in files beside the spec: one word a line, in the order of training, read once and shared.

Two versions with the same words share them in memory; a file is known by the digest of its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from threading import Lock, Thread
from weakref import WeakValueDictionary, finalize

from gateway.files import BadText, text_of
from gateway.spec import SpecProblem

FILE_WORDS_MAX = 1_000_000
"""Most words of a vocabulary file: about 150 MB of memory."""
_FILE_BYTES_MAX = 1 << 28
_PIECE_BYTES = 1 << 16
_SHARDS = 64


class FileWords(Mapping[str, int]):
    """The index of each word, spread over many dicts: one with all words would hold the process up while it grows."""

    def __init__(self) -> None:
        self._shards: list[dict[str, int]] = [{} for _ in range(_SHARDS)]
        finalize(self, _free, self._shards).atexit = False

    def put(self, word: str, index: int) -> bool:
        """Adds a word; whether it is new."""
        return self._shards[hash(word) % _SHARDS].setdefault(word, index) == index

    def __getitem__(self, word: str) -> int:
        return self._shards[hash(word) % _SHARDS][word]

    def find(self, values: list[object]) -> list[int | None]:
        """The index of each value; None for one that is no word of the vocabulary. Errors: TypeError."""
        shards = self._shards
        return [shards[hash(value) % _SHARDS].get(value) for value in values]  # type: ignore[call-overload]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._shards)

    def __len__(self) -> int:
        return sum(map(len, self._shards))


def _free(shards: list[dict[str, int]]) -> None:
    """To free a million words takes a quarter of a second, in which no request would be worked on."""

    def one_by_one() -> None:
        while shards:
            shards.pop()

    with suppress(RuntimeError):  # the interpreter is going down
        Thread(target=one_by_one, name="free a vocabulary", daemon=True).start()


_known: WeakValueDictionary[bytes, FileWords] = WeakValueDictionary()
_reading = Lock()


def read_words(path: Path) -> FileWords:
    """The words of a file by their place in it, from 0.

    UTF-8, one word a line; lines may end as on Windows. Read piece by piece, so that a large file does not hold up
    requests that other threads work on. Errors: SpecProblem.
    """
    with _reading:
        try:
            digest = _digest(path)
            words = _known.get(digest)
            if words is None:
                words = _read(path)
                _known[digest] = words
        except OSError as error:
            raise SpecProblem("", f"vocabulary file {path} cannot be read: {error.strerror or error}") from error
        except BadText as error:
            raise SpecProblem("", f"vocabulary file {error}") from error
    return words


def _digest(path: Path) -> bytes:
    if path.stat().st_size > _FILE_BYTES_MAX:
        raise SpecProblem("", f"vocabulary file {path} has more than {_FILE_BYTES_MAX >> 20} MiB")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _read(path: Path) -> FileWords:
    words = FileWords()
    try:
        return _filled(words, path)
    except UnicodeDecodeError:
        text_of(path)  # knows the line
        raise


def _filled(words: FileWords, path: Path) -> FileWords:
    for index, word in enumerate(_lines(path)):
        if index == FILE_WORDS_MAX:
            raise SpecProblem("", f"vocabulary file {path} has more than {FILE_WORDS_MAX:,} words")
        if not words.put(word, index):
            raise SpecProblem("", f"vocabulary file {path}, line {index + 1}: '{word[:60]}' is there twice")
    if not words:
        raise BadText(f"{path}:1: the file is empty")
    return words


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", newline=None) as file:
        while lines := file.readlines(_PIECE_BYTES):
            for line in lines:
                yield line.removesuffix("\n")

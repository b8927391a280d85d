"""A share of the records of requests in files, one line `{"record": {…}}` each, for later experiments and batches.

Only records that got a prediction are kept: they can be sent again. Fields whose names are masked lose their values
before anything is written. A thread writes, so a slow disk holds nobody up; what it cannot take is dropped and counted.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import random
from typing import Final
from urllib.parse import quote

import msgspec

log = logging.getLogger("gateway.sampling")

RECORD_BYTES: Final = 1 << 16
"""Longer lines are dropped."""
OF_ONE_REQUEST: Final = 64
"""Records of one request at most."""
WAITING_LINES: Final = 256
"""Lines that may wait for the writer."""
NAME_MOST: Final = 180
"""Bytes of a file name that are a model's own."""

Record = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What is kept: a share of the records, `max_bytes` for each model at most, without the fields of `mask`."""

    folder: str
    share: float
    max_bytes: int
    mask: frozenset[str]


class Sampler:
    """Off until `configure` gets settings. `chance` is a seam for tests."""

    def __init__(self, folder: Path, *, chance: Callable[[], float] = random) -> None:
        self._base = folder
        self._chance = chance
        self._settings: Keep | None = None
        self._lines: queue.Queue[tuple[Path, int, bytes] | None] = queue.Queue(WAITING_LINES)
        self._writer: threading.Thread | None = None
        self.kept: dict[tuple[str, ...], float] = {}
        """Records in files since the start, by model."""
        self.dropped = 0
        """Records that were chosen and could not be kept."""
        self._failing = False

    @property
    def on(self) -> bool:
        """Whether anything is kept."""
        return self._settings is not None

    def configure(self, settings: Keep | None) -> None:
        """Keep records by these settings from now on; None for none."""
        self._settings = settings
        if settings is not None and self._writer is None:
            self._writer = threading.Thread(target=self._write, name="samples", daemon=True)
            self._writer.start()

    def add(self, model: str, records: Sequence[Record]) -> None:
        """Keep a share of the records of one request; never waits."""
        settings = self._settings
        if settings is None:
            return
        path = self._base / settings.folder / f"{file_name(model)}.jsonl"
        for index in self._chosen(len(records), settings.share):
            line = msgspec.json.encode({"record": masked(records[index], settings.mask)}) + b"\n"
            if len(line) > RECORD_BYTES:
                self.dropped += 1
                continue
            try:
                self._lines.put_nowait((path, settings.max_bytes // 2, line))
            except queue.Full:
                self.dropped += 1
            else:
                self.kept[(model,)] = self.kept.get((model,), 0.0) + 1

    def close(self) -> None:
        """Write what waits, within a second."""
        if self._writer is not None:
            try:
                self._lines.put(None, timeout=1.0)
            except queue.Full:
                return
            self._writer.join(1.0)

    def _chosen(self, count: int, share: float) -> Iterator[int]:
        """Each index with the same chance, without a throw of dice for each."""
        at, found = self._gap(share), 0
        while at < count and found < OF_ONE_REQUEST:
            yield int(at)
            found += 1
            at += 1 + self._gap(share)

    def _gap(self, share: float) -> float:
        """How many records are passed over before the next one: geometrically distributed."""
        if share >= 1:
            return 0
        if share <= 0:
            return math.inf
        return math.floor(math.log(1 - self._chance()) / math.log(1 - share))

    def _write(self) -> None:
        while (entry := self._lines.get()) is not None:
            path, most, line = entry
            try:
                _append(path, most, line)
                self._failing = False
            except OSError as error:
                self.dropped += 1
                if not self._failing:
                    log.error("samples cannot be written: %s", error)
                self._failing = True


def masked(value: object, names: frozenset[str]) -> object:
    """A record without the values of these fields, wherever they are in it: numbers are 0, texts "masked", and so on,
    so that the record stays one that can be sent."""
    if not names:
        return value
    if isinstance(value, Mapping):
        return {key: _blank(item) if key in names else masked(item, names) for key, item in value.items()}
    return [masked(item, names) for item in value] if isinstance(value, list) else value


def _blank(value: object) -> object:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return type(value)(0)
    if isinstance(value, str):
        return "masked"
    if isinstance(value, Mapping):
        return {key: _blank(item) for key, item in value.items()}
    return [_blank(item) for item in value] if isinstance(value, list) else None


def file_name(model: str) -> str:
    """A model's name as that of a file."""
    name = quote(model, safe=" ")
    return name if len(name) <= NAME_MOST else f"{name[:NAME_MOST]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _append(path: Path, most: int, line: bytes) -> None:
    """Add a line; a file that would grow past `most` bytes becomes `NAME.1.jsonl`, in place of the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size + len(line) > most:
        path.replace(path.with_name(f"{path.stem}.1.jsonl"))
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)

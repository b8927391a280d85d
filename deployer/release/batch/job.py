"""What a batch is: the request, and the description in its output folder that a later run must agree with."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from deployer.decode import json_as
from deployer.errors import SpecError, UsageError
from deployer.files import replace_file
from deployer.records import rows
from deployer.release.batch.output import Shard
from deployer.release.batch.tables import Format

DESCRIPTION_FILE = "batch.json"


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """What to predict, and where to write it.

    `inputs` are files and globs. Without `label` and `version` the gateway routes by its weights. A request holds
    `batch` records at most, and `concurrency` requests at most are in flight; `max_rate` is in rows/s, None for as
    fast as the release allows. After `patience` seconds without success the run ends. `restart` discards what an
    earlier run has written.
    """

    model: str
    inputs: tuple[str, ...]
    output: Path
    form: Format = Format.JSONL
    label: str = ""
    version: int | None = None
    shards: int = 1
    batch: int = 256
    concurrency: int = 8
    max_rate: float | None = None
    patience: float = 300.0
    restart: bool = False


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was when the batch began; `modified` is in nanoseconds of Unix time."""

    path: str
    size: int
    modified: int
    rows: int


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """`batch.json` of an output folder: what another run has to agree with to go on in it."""

    model: str
    label: str
    version: int | None
    format: str
    shards: int
    inputs: tuple[InputFile, ...]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.inputs)

    def bounds(self, shard: int) -> tuple[int, int]:
        """The rows of a shard: the first, counted from 0, and the one after the last."""
        return self.rows * shard // self.shards, self.rows * (shard + 1) // self.shards


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder for one run alone; the kernel releases it when the run dies. Errors: UsageError."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"another run writes to {folder}", hint="wait for it, or choose another folder") from error
    else:
        yield
    finally:
        os.close(handle)


def begin(request: BatchRequest) -> Described:
    """The batch that stands in the output folder, when this request goes on with it, else a new one.

    Errors: SpecError for inputs that cannot be read, UsageError when the folder holds another batch.
    """
    files = rows.expand(request.inputs)
    folder, description = request.output, request.output / DESCRIPTION_FILE
    before = None if request.restart else _read(description)
    if before is None:
        _require_free(folder, discard=request.restart)
    known = {(file.path, file.size, file.modified): file.rows for file in (before.inputs if before else ())}
    described = Described(
        model=request.model,
        label=request.label,
        version=request.version,
        format=str(request.form),
        shards=request.shards,
        inputs=tuple(_input(path, known) for path in files),
    )
    if described.rows == 0:
        raise SpecError(f"{', '.join(request.inputs)}: there are no records", hint="write one record per line")
    if described.rows < described.shards:
        described = msgspec.structs.replace(described, shards=described.rows)
    if before is None:
        replace_file(description, msgspec.json.format(msgspec.json.encode(described)))
    elif described != before:
        changed = [name for name in Described.__struct_fields__ if getattr(before, name) != getattr(described, name)]
        raise UsageError(
            f"{folder} holds another batch: it differs in {', '.join(changed)}",
            hint="choose another folder, or --restart to overwrite what it holds",
        )
    return described


def shards(described: Described, folder: Path) -> Sequence[Shard]:
    """The outputs of a batch, with what is known of each."""
    form = Format(described.format)
    return [Shard(folder, index, described.shards, form) for index in range(described.shards)]


def _input(path: Path, known: dict[tuple[str, int, int], int]) -> InputFile:
    state = path.stat()
    where = str(path.resolve())
    counted = known.get((where, state.st_size, state.st_mtime_ns))
    return InputFile(
        path=where,
        size=state.st_size,
        modified=state.st_mtime_ns,
        rows=rows.count(path) if counted is None else counted,
    )


def _read(description: Path) -> Described | None:
    try:
        return json_as(description.read_bytes(), Described)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise UsageError(f"{description} does not describe a batch", hint="choose another folder") from error


def _require_free(folder: Path, *, discard: bool) -> None:
    """No file of another batch may be in the folder of the new one."""
    found = [path for pattern in ("part-*", "errors-*", ".part-*", ".errors-*") for path in folder.glob(pattern)]
    if found and not discard:
        raise UsageError(f"{folder} is not empty: {found[0].name}", hint="choose another folder, or --restart")
    for path in found:
        path.unlink()

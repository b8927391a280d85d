"""The output of one shard: drafts that grow, a journal that says how far they are good, and one rename at the end.

The drafts are JSON lines whatever the format, because lines can be cut off where the journal ends: a run that was
killed goes on from there, and what it had written past that point is written again in its place.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from deployer.decode import json_as
from deployer.errors import TargetError, UsageError
from deployer.files import replace_file
from deployer.release.batch import tables
from deployer.release.batch.ask import Outcome, Predicted, Problem
from deployer.release.batch.tables import Columns, Format


class Journal(msgspec.Struct, kw_only=True):
    """How far a shard is: `rows` of its input are dealt with, which made `size` and `errors_size` bytes of drafts."""

    rows: int = 0
    bad: int = 0
    size: int = 0
    errors_size: int = 0
    versions: dict[int, int] = {}


class BadRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an errors file: where the row stands, and every reason."""

    row: int
    file: str
    line: int
    problems: tuple[Problem, ...]


class Shard:
    """Output number `index` of `shards` in `folder`."""

    def __init__(self, folder: Path, index: int, shards: int, form: Format) -> None:
        name = f"{index:05d}-of-{shards:05d}"
        self.file = folder / f"part-{name}.{form}"
        self.errors_file = folder / f"errors-{name}.jsonl"
        self._form = form
        self._draft = folder / f".part-{name}.draft"
        self._errors_draft = folder / f".errors-{name}.draft"
        self._journal_file = folder / f".part-{name}.journal"
        self._out: BinaryIO | None = None
        self._errors: BinaryIO | None = None
        self.journal = self._read_journal()

    @property
    def done(self) -> bool:
        """Whether the output is complete: only then does it have its name."""
        return self.file.exists()

    def open(self) -> None:
        """Go on where the journal ends. Errors: TargetError when the drafts are shorter than it says."""
        if not self._errors_draft.exists() and self.errors_file.exists():  # killed between the two renames
            self.errors_file.rename(self._errors_draft)
        self._out = _continued(self._draft, self.journal.size)
        self._errors = _continued(self._errors_draft, self.journal.errors_size)

    def write(self, outcomes: Iterable[Outcome]) -> None:
        """Add the outcomes of the next rows; they count once they are committed."""
        assert self._out is not None
        assert self._errors is not None
        lines, errors, versions = [], [], Counter[int]()
        rows = 0
        for outcome in outcomes:
            rows += 1
            row = outcome.row
            if isinstance(outcome, Predicted):
                versions[outcome.version] += 1
                lines.append(
                    b'{"row":%d,"version":%d,%b\n' % (row.number, outcome.version, outcome.prediction.lstrip()[1:])
                )
            else:
                bad = BadRow(row=row.number, file=str(row.file), line=row.line, problems=outcome.problems)
                errors.append(msgspec.json.encode(bad) + b"\n")
        journal = self.journal
        journal.size += self._out.write(b"".join(lines))
        journal.errors_size += self._errors.write(b"".join(errors))
        journal.rows += rows
        journal.bad += len(errors)
        journal.versions = dict(Counter(journal.versions) + versions)

    def commit(self) -> None:
        """Make what was written the state that a killed run goes on from."""
        for opened in (self._out, self._errors):
            if opened is not None:
                opened.flush()
                os.fsync(opened.fileno())
        replace_file(self._journal_file, msgspec.json.encode(self.journal))

    def close(self) -> None:
        """Close the drafts as they are."""
        for opened in (self._out, self._errors):
            if opened is not None:
                opened.close()
        self._out = self._errors = None

    def finish(self, columns: Columns) -> None:
        """Give the output its name, which says that it is complete."""
        self.commit()
        self.close()
        if self.journal.bad:
            self._errors_draft.rename(self.errors_file)
        else:
            self._errors_draft.unlink()
        if self._form is Format.JSONL:
            self._draft.rename(self.file)
            return
        made = self._draft.with_suffix(f".{self._form}")
        tables.convert(self._draft, made, self._form, columns)
        made.rename(self.file)
        self._draft.unlink()

    def _read_journal(self) -> Journal:
        try:
            return json_as(self._journal_file.read_bytes(), Journal)
        except FileNotFoundError:
            return Journal()
        except msgspec.MsgspecError as error:
            raise UsageError(
                f"{self._journal_file} is not a journal", hint="--restart starts this batch from the first row"
            ) from error


def _continued(path: Path, size: int) -> BinaryIO:
    opened = path.open("r+b" if path.exists() else "w+b")
    if opened.seek(0, os.SEEK_END) < size:
        opened.close()
        raise TargetError(f"{path} is shorter than its journal says", hint="--restart starts from the first row")
    opened.truncate(size)
    opened.seek(size)
    return opened

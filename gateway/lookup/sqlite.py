"""A table of a SQLite file, loaded into memory when the gateway starts: for features that change once a day."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from gateway.lookup.store import Values
from gateway.settings import SettingsError


class SqliteStore:
    """Rows by their column `key`; every other column is a feature, NULL is one that is not stored."""

    def __init__(self, file: Path, table: str) -> None:
        """Errors: SettingsError for a file or table that cannot be read."""
        if not file.is_file():
            raise SettingsError(f"stores: there is no file {file}")
        try:
            connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
            try:
                quoted = table.replace('"', '""')
                cursor = connection.execute(f'SELECT * FROM "{quoted}"')
                names = [column[0] for column in cursor.description]
                if "key" not in names:
                    raise SettingsError(f"stores: table '{table}' of {file} has no column key")
                at = names.index("key")
                self._rows = {
                    str(row[at]): {
                        name: value
                        for name, value in zip(names, row, strict=True)
                        if name != "key" and value is not None
                    }
                    for row in cursor
                }
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise SettingsError(f"stores: {file}: {error}") from error

    async def fetch(self, keys: Sequence[str], features: Sequence[str]) -> list[Values | None]:
        rows = self._rows
        return [
            {name: row[name] for name in features if name in row} if (row := rows.get(key)) is not None else None
            for key in keys
        ]

    async def close(self) -> None:
        self._rows = {}

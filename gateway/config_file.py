"""The config file and the rates file that it names, read again when their bytes change."""

from __future__ import annotations

from pathlib import Path

from gateway.active import Active, activate
from gateway.files import BadText, text_of
from gateway.preprocess import RateProblem, RateTable
from gateway.settings import SettingsError, rates_file


class ConfigFile:
    """Remembers what was read last, so that unchanged files cost one read and no parsing.

    Kubernetes replaces a mounted ConfigMap by a symbolic link, so contents are compared and not times.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rates_path: Path | None = None
        self._seen: tuple[str, bytes | None] | None = None

    def forget(self) -> None:
        """Read everything again at the next call."""
        self._seen = None

    def load(self) -> Active | None:
        """The config made ready, or None when nothing has changed since the last call, good or bad.

        Errors: SettingsError naming file or path.
        """
        try:
            text = text_of(self._path)
            rates = self._rates_path.read_bytes() if self._rates_path is not None else None
        except OSError as error:
            self._seen = None
            raise SettingsError(f"{self._path}: {error}") from error
        except BadText as error:
            self._seen = None
            raise SettingsError(str(error)) from error
        if self._seen == (text, rates):
            return None
        self._seen = (text, rates)
        name = rates_file(text)
        self._rates_path = self._path.parent / name if name is not None else None
        try:
            table = RateTable.load(self._rates_path) if self._rates_path is not None else None
        except RateProblem as error:
            raise SettingsError(f"rates.file: {error}") from error
        active = activate(text, table)
        if self._rates_path is not None:
            self._seen = (text, self._rates_path.read_bytes())
        return active

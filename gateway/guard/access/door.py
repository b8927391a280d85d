"""The door: every request of the public port passes it before anything else of it is read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from gateway.errors import Unauthenticated
from gateway.files import BadText, text_of
from gateway.guard.access.caller import Caller
from gateway.guard.access.keys import Keys, hashed, read_keys
from gateway.guard.access.tokens import Tokens
from gateway.settings import Auth, SettingsError

log = logging.getLogger("gateway.guard")


class Door:
    """Open until `adopt` gets settings. `folder` is that of the config, which files are relative to."""

    def __init__(self, folder: Path, time: Callable[[], float]) -> None:
        self._folder = folder
        self._time = time
        self._settings: Auth | None = None
        self._text: str | None = None
        self._keys: Keys = {}
        self._tokens: Tokens | None = None
        self.problem: str | None = None
        """Why the files on disk are not in force."""

    @property
    def open(self) -> bool:
        """Whether anybody may ask."""
        return self._settings is None

    async def adopt(self, settings: Auth | None) -> None:
        """Check by these settings from now on. Errors: SettingsError; then the earlier ones stay."""
        if settings == self._settings:
            return
        text: str | None = None
        keys: Keys = {}
        tokens: Tokens | None = None
        if settings is not None and settings.keys_file is not None:
            text, keys = await self._read(settings.keys_file)
        if settings is not None and settings.jwt is not None:
            tokens = Tokens(settings.jwt, self._folder, self._time)
            try:
                await tokens.refresh()
            except SettingsError as error:
                if settings.jwt.jwks_file is not None:
                    raise
                log.warning("%s; tokens get 503 until there are some", error)
        self._settings, self._text, self._keys, self._tokens, self.problem = settings, text, keys, tokens, None

    async def refresh(self) -> None:
        """Read what has changed on disk or is due from the issuer; what is bad leaves everything as it is."""
        try:
            if self._settings is not None and self._settings.keys_file is not None:
                text, keys = await self._read(self._settings.keys_file)
                if text != self._text:
                    self._text, self._keys = text, keys
                    log.info("%d API keys are in force", len(keys))
            if self._tokens is not None:
                await self._tokens.refresh()
            self.problem = None
        except SettingsError as error:
            if self.problem != str(error):
                log.error("%s; the previous keys stay in force", error)
            self.problem = str(error)

    async def caller(self, header: Callable[[str], str | None]) -> Caller:
        """Who asks, by `x-api-key` or `authorization: Bearer`. Errors: Unauthenticated, Unavailable."""
        given = header("x-api-key")
        if given is None:
            scheme, _, given = (header("authorization") or "").partition(" ")
            given = given.strip() if scheme.lower() == "bearer" else ""
        if not given:
            raise Unauthenticated(
                "credentials are needed: x-api-key: KEY, or authorization: Bearer KEY", stage="access", denied="none"
            )
        known = self._keys.get(hashed(given))
        if known is not None:
            return known
        if self._tokens is not None and given.count(".") == 2:
            return await self._tokens.caller(given)
        raise Unauthenticated("the API key is not known", stage="access", denied="key")

    async def _read(self, name: str) -> tuple[str, Keys]:
        path = self._folder / name
        try:
            text = await asyncio.to_thread(text_of, path)
        except OSError as error:
            raise SettingsError(f"auth.keys_file: {path}: {error.strerror}") from error
        except BadText as error:
            raise SettingsError(f"auth.keys_file: {error}") from error
        if text == self._text:
            return text, self._keys
        try:
            return text, read_keys(text, self._keys, self._time)
        except SettingsError as error:
            raise SettingsError(f"auth.keys_file: {path}: {error}") from error

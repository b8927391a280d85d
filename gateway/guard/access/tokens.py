"""JSON Web Tokens: their signature, issuer, audience and time, checked with the issuer's public keys (PyJWT).

The keys come from a file or a URL, are asked for again now and then, and at once when a token names a key that is not
known: the issuer has exchanged them. When the URL does not respond, the known keys stay.
"""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import Unauthenticated, Unavailable
from gateway.files import BadText, decoded, text_of
from gateway.guard.access.caller import Caller
from gateway.settings import Jwt, SettingsError

if TYPE_CHECKING:
    from jwt import PyJWKSet

log = logging.getLogger("gateway.guard")

FETCH_SECONDS: Final = 5.0
FETCH_BYTES: Final = 1024 * 1024
UNKNOWN_SECONDS: Final = 10.0
"""Between two questions for keys because of tokens with an unknown one, which anybody can send."""
GROUP: Final = "jwt"


class Tokens:
    """Checks tokens by the settings. `time` is in seconds and only measures intervals."""

    def __init__(self, settings: Jwt, folder: Path, time: Callable[[], float]) -> None:
        try:
            import jwt
        except ImportError as error:
            raise SettingsError("auth.jwt: PyJWT is not installed; install the extra `jwt`") from error
        self._jwt: Any = jwt
        self._settings = settings
        self._folder = folder
        self._time = time
        self._keys: PyJWKSet | None = None
        self._asked = -float("inf")
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the keys again when it is time. Errors: SettingsError when they cannot be read."""
        every = self._settings.refresh_seconds if self._keys is not None else UNKNOWN_SECONDS
        if self._time() - self._asked >= every:
            await self._read()

    async def caller(self, token: str) -> Caller:
        """Whose token it is. Errors: Unauthenticated with the reason, Unavailable while no key is known."""
        settings = self._settings
        try:
            claims: dict[str, Any] = self._jwt.decode(
                token, await self._key(token), algorithms=list(settings.algorithms), audience=settings.audience,
                issuer=settings.issuer, leeway=settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud"], "strict_aud": False},
            )  # fmt: skip
        except self._jwt.InvalidTokenError as error:
            raise Unauthenticated(f"the token is not valid: {error}", stage="access", denied="token") from error
        name = str(claims.get("sub", GROUP))[:64]
        return Caller(name if name.isprintable() else GROUP, group=GROUP, models=self._models(claims))

    def _models(self, claims: dict[str, Any]) -> list[str] | None:
        if self._settings.models_claim is None:
            return None
        allowed = claims.get(self._settings.models_claim, [])
        patterns = allowed.split() if isinstance(allowed, str) else allowed
        return [str(pattern) for pattern in patterns] if isinstance(patterns, list) else []

    async def _key(self, token: str) -> Any:
        """The public key that a token names. Errors: InvalidTokenError."""
        name = self._jwt.get_unverified_header(token).get("kid")
        found = self._known(name)
        if found is None and self._time() - self._asked >= UNKNOWN_SECONDS:
            try:
                await self._read()
            except SettingsError as error:
                log.warning("%s; the known keys stay", error)
            found = self._known(name)
        if self._keys is None:
            raise Unavailable("the keys of the issuer are not known yet; try later", stage="access", denied="keys")
        if found is None:
            raise self._jwt.InvalidTokenError("it names no key of the issuer")
        return found

    def _known(self, name: object) -> Any:
        keys = self._keys.keys if self._keys is not None else []
        if name is None and len(keys) == 1:
            return keys[0]
        return next((key for key in keys if key.key_id == name), None) if name is not None else None

    async def _read(self) -> None:
        async with self._lock:
            if self._time() - self._asked < UNKNOWN_SECONDS:
                return  # another party has just asked
            self._asked = self._time()
            where = self._settings.jwks_url or self._settings.jwks_file
            try:
                text = await asyncio.to_thread(self._text)
                self._keys = self._jwt.PyJWKSet.from_dict(json.loads(text))
            except json.JSONDecodeError as error:
                raise SettingsError(f"auth.jwt: no keys from {where}:{error.lineno}: not JSON: {error.msg}") from error
            except BadText as error:
                raise SettingsError(f"auth.jwt: no keys from {error}") from error
            except (OSError, ValueError, AttributeError, self._jwt.PyJWTError) as error:
                raise SettingsError(f"auth.jwt: no keys from {where}: {error}") from error

    def _text(self) -> str:
        if self._settings.jwks_file is not None:
            return text_of(self._folder / self._settings.jwks_file)
        with urllib.request.urlopen(str(self._settings.jwks_url), timeout=FETCH_SECONDS) as answer:
            return decoded(answer.read(FETCH_BYTES), str(self._settings.jwks_url))

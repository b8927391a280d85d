"""Lists of numbers in one option: `--replicas 1,2,4`."""

from __future__ import annotations

from deployer.errors import UsageError


def numbers(
    option: str, text: str, *, example: str = "1,2,4", what: str = "numbers", unit: str = ""
) -> tuple[float, ...]:
    """The numbers of a list, each with `unit` or without. Errors: UsageError that says `what` and shows `example`."""
    try:
        return tuple(float(part.removesuffix(unit)) for part in _parts(text))
    except ValueError:
        raise _wrong(option, text, example, what) from None


def whole(option: str, text: str, *, example: str = "1,2,4", what: str = "whole numbers") -> tuple[int, ...]:
    """The whole numbers of a list, exact however large. Errors: as of `numbers`."""
    try:
        return tuple(int(part) for part in _parts(text))
    except ValueError:
        raise _wrong(option, text, example, what) from None


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _wrong(option: str, text: str, example: str, what: str) -> UsageError:
    return UsageError(f"{option} {text!r} is not a list of {what}", hint=f"write {option} {example}")

"""Single values of the files that users hand over."""

from __future__ import annotations

from typing import Never


def cell(text: str) -> bool | int | float | str:
    """A CSV cell as what it looks like: true or false, a number (NaN and infinity too), else text."""
    if text in ("true", "false"):
        return text == "true"
    if "_" in text:  # Python would read 1_000 as a number
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def no_constant(text: str) -> Never:
    """For `json.loads(parse_constant=…)`: NaN and Infinity are not JSON. Errors: ValueError."""
    raise ValueError(f"{text} is not a JSON number")

"""Shortens TensorFlow's error texts to one sentence, and finds the remedy for it.

TensorFlow's error texts contain stack frames, node names and advice around the sentence with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

REASON_MAX = 400
"""Maximum characters of a reason; some contain whole shapes and graphs."""

USE_EXPORT = (
    "save the model with `model.export(PATH)` instead of `tf.saved_model.save`, or export the .keras file or the "
    "function that builds it"
)
OTHER_SAMPLES = "use --samples FILE with inputs that the model accepts"


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What to do when a text matches `pattern`."""

    pattern: re.Pattern[str]
    text: str


def _remedy(pattern: str, text: str) -> Remedy:
    return Remedy(pattern=re.compile(pattern, re.IGNORECASE | re.DOTALL), text=text)


REMEDIES = (
    _remedy(r"could not find variable|resource .* does not exist|uninitialized value", USE_EXPORT),
    _remedy(
        r"table not initialized|untracked.{0,3} resource|table .* (does not exist|not found)",
        "store every lookup table as an attribute of the module or in a layer, so that it is saved with the model",
    ),
    _remedy(
        r"op type not registered|not registered '|no opkernel was registered",
        "the model uses an operation that the server does not have (TensorFlow Text, Decision Forests, a custom op): "
        "use a server image that has it, or move the operation into the feature spec",
    ),
    _remedy(
        r"could not parse example|feature: .* data type mismatch",
        "use --samples FILE with examples that the model can parse",
    ),
    _remedy(
        r"resource exhausted|out of memory|bad_alloc|\boom\b", "give the server more memory, or export a smaller model"
    ),
    _remedy(
        r"could not find meta graph def matching supplied tags",
        "save the model with the tag `serve`: `tf.saved_model.save` and `model.export` do",
    ),
    _remedy(
        r"data loss|checksum|truncated|unable to open table file|failed to find any matching files for.*variables",
        "the files of the SavedModel are damaged or incomplete: copy or save it again",
    ),
    _remedy(
        r"incompatible shapes|must be equal|invalid shape|matrix size-incompatible|cannot reshape|"
        r"cannot feed value of shape|rank",
        OTHER_SAMPLES,
    ),
    _remedy(
        r"expected to be a \w+ tensor but is a \w+ tensor|dtype|no such signature|input size does not match",
        OTHER_SAMPLES,
    ),
)

_WARMUP = re.compile(r"warm-?up", re.IGNORECASE)
_DROPPED = (
    re.compile(r"\[\[[^\n]*?\]\]"),
    re.compile(r"Detected at node[^\n]*(?:\n.*?)?(?=\n\S*Error|\n[A-Z][a-z]|\Z)", re.DOTALL),
    re.compile(r"^\s*File \"[^\n]*\n?", re.MULTILINE),
    re.compile(r"\(most recent call last\):?"),
    re.compile(r"Graph execution error:?"),
    re.compile(r"\x1b\[[0-9;]*m"),
    re.compile(r"This could mean that the variable has been deleted\..*", re.DOTALL),
    re.compile(r"Encountered when executing an operation using.*", re.DOTALL),
    re.compile(r"Function call stack:.*", re.DOTALL),
    re.compile(r"Hint: If you want to see a list of allocated tensors.*", re.DOTALL),
    re.compile(r"_?Derived_?"),
    re.compile(r"\d+ root error\(s\) found\."),
    re.compile(r"^\s*\(\d+\)\s*", re.MULTILINE),
)
_STATUS = re.compile(r"^(?:[A-Z_]{4,}|[A-Z][a-z]+(?: [a-z]+)*): (?=\S)")


def sentence(text: str) -> str:
    """The reason in an error text of TensorFlow or Keras: its first full sentence, on one line."""
    for pattern in _DROPPED:
        text = pattern.sub(" ", text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    reason = " ".join(line for line in lines if line)
    reason = _STATUS.sub("", reason).strip(" :;,")
    end = re.search(r"[.!?](?=\s+[A-Z(]|\s*$)", reason)
    first = reason[: end.start()] if end else reason
    if len(first) < 15 and end:  # an abbreviation or a bare status, not a sentence
        first = reason
    return first if len(first) <= REASON_MAX else first[:REASON_MAX].rsplit(" ", 1)[0] + " …"


def remedy(text: str, otherwise: str) -> str:
    """What to do about an error text; `otherwise` if no known cause matches."""
    return next((known.text for known in REMEDIES if known.pattern.search(text)), otherwise)


def about_warmup(text: str) -> bool:
    """Whether the server's message is about the warm-up records of a version, and not about its graph."""
    return bool(_WARMUP.search(text))

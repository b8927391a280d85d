"""Which versions should be loaded, and what to do next: pure decisions.

The rules are TensorFlow Serving's: a version directory is any child whose name is an integer, and the swap of versions
is always availability-preserving.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tfserving.wire import messages_pb2 as m

_INTEGER = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+[ \t\n\v\f\r]*", re.ASCII)
_INT64 = range(-(2**63), 2**63)


def version_number(name: str) -> int | None:
    """The version that a directory name stands for; leading zeros, a sign and blanks around it are allowed."""
    if not _INTEGER.fullmatch(name):
        return None
    number = int(name)
    return number if number in _INT64 else None


def choose(names: Iterable[str], policy: m.ServableVersionPolicy) -> dict[int, str]:
    """The aspired versions among the children of a base path: version number to directory name.

    Of two spellings of one number the first in alphabetical order counts where all versions are wanted, else the last.
    """
    kind = policy.WhichOneof("policy_choice")
    spelled = sorted(names, key=os.fsencode, reverse=kind == "all")
    found = {number: name for name in spelled if (number := version_number(name)) is not None}
    if kind == "all":
        wanted = set(found)
    elif kind == "specific":
        wanted = set(policy.specific.versions)
    else:
        wanted = set(sorted(found)[-max(1, policy.latest.num_versions) :])
    return {number: found[number] for number in sorted(found) if number in wanted}


class Phase(Enum):
    """Where a version stands in the eyes of the manager."""

    NEW = "new"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    DISABLED = "disabled"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One managed version: its number, its phase, and whether it should be there."""

    version: int
    phase: Phase
    aspired: bool


@dataclass(frozen=True, slots=True, order=True)
class Action:
    """Load or unload one version of one model. The order is the order of execution: unloading first."""

    load: bool
    name: str
    version: int


def next_action(models: Mapping[str, Sequence[Snapshot]]) -> Action | None:
    """The one thing to do now, None when everything is as it should be or is on its way."""
    actions = [action for name, versions in models.items() if (action := _next_of_model(name, versions))]
    return min(actions, default=None)


def _next_of_model(name: str, versions: Sequence[Snapshot]) -> Action | None:
    """Availability first: a version goes only when an aspired one is ready, none is wanted, or others remain."""
    aspired = [v for v in versions if v.aspired]
    superfluous = [v.version for v in versions if not v.aspired and v.phase is Phase.READY]
    if superfluous and (not aspired or len(superfluous) > 1 or any(v.phase is Phase.READY for v in aspired)):
        return Action(load=False, name=name, version=min(superfluous))
    new = [v.version for v in aspired if v.phase is Phase.NEW]
    return Action(load=True, name=name, version=max(new)) if new else None

"""The processes of this machine, for tests that must leave none behind."""

from __future__ import annotations

from pathlib import Path


def running_from(directory: Path) -> list[str]:
    """Command lines of all processes of this machine that name a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found

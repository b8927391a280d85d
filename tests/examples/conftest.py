"""Each folder of examples/, copied and used as its README says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from example_folder import Example, copied


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Callable[[str], Example]]:
    """`example(name)`; what it starts is stopped afterwards."""
    opened: list[Example] = []

    def open_example(name: str) -> Example:
        opened.append(copied(name, tmp_path))
        return opened[-1]

    yield open_example
    for one in opened:
        if (one.directory / ".deployer").exists():
            one.run("deployer local down")

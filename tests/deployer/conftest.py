"""What several tests of the deployer start from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import told_in_json
from paths import SUPPORT


@pytest.fixture(autouse=True)
def tables_are_told_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """No verb shows a person what `-o json` does not have; every test that prints a table checks its own."""
    told_in_json.watch(monkeypatch)


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with versions 1 and 2 of model `scale`: version N answers N * (a + b + c). Read only."""
    store = tmp_path_factory.mktemp("small") / "store"
    writer = SUPPORT / "small_store.py"
    subprocess.run([sys.executable, str(writer), str(store)], check=True, capture_output=True, timeout=120)
    return store

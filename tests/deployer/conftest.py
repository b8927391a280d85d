"""What several tests of the deployer start from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from paths import SUPPORT


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with versions 1 and 2 of model `scale`: version N answers N * (a + b + c). Read only."""
    store = tmp_path_factory.mktemp("small") / "store"
    writer = SUPPORT / "small_store.py"
    subprocess.run([sys.executable, str(writer), str(store)], check=True, capture_output=True, timeout=120)
    return store

"""The helm of this machine."""

from __future__ import annotations

import os
import shutil

from paths import ROOT


def helm_program() -> str | None:
    """The one that HELM names, else that of PATH, else that of scripts/tools; None when there is none."""
    tools = ROOT / ".tools" / "helm"
    return os.environ.get("HELM") or shutil.which("helm") or (str(tools) if tools.exists() else None)

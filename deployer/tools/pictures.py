"""Pictures by matplotlib, which is optional: what can be known before anything is measured or sent for one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from deployer.errors import UsageError
from deployer.extras import of_import

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES: Final = (".png", ".svg", ".pdf")
DPI: Final = 150


def require(path: Path) -> None:
    """Errors: UsageError for a suffix that is not written, and without matplotlib."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is no picture", hint=f"its name ends in {', '.join(SUFFIXES)}")
    try:
        import matplotlib
    except ImportError as error:
        raise of_import(error, UsageError) or error from error
    matplotlib.use("Agg")


def blank(path: Path, width: float, height: float) -> Figure:
    """An empty figure of that many inches. Errors: as for `require`."""
    require(path)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a figure, and the folder that it is in. Errors: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)

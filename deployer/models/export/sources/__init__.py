"""The sources of `deployer export`: one module for each kind; `open_source` selects it."""

from deployer.models.export.sources.choose import open_source
from deployer.models.export.sources.source import Source

__all__ = ["Source", "open_source"]

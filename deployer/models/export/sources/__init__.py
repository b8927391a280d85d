"""What `deployer export` takes: each kind of source in a module of its own, chosen by `open_source`."""

from deployer.models.export.sources.choose import open_source
from deployer.models.export.sources.source import Source

__all__ = ["Source", "open_source"]

"""Domain values to the text of every file that a release needs."""

from deployer.release.render.everything import Rendered, render_release
from deployer.release.render.readback import state_of

__all__ = ["Rendered", "render_release", "state_of"]

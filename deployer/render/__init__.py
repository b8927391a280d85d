"""Domain values to the text of every file that a release needs."""

from deployer.render.readback import state_of
from deployer.render.release import Rendered, render_release

__all__ = ["Rendered", "render_release", "state_of"]

"""Renders a release: the text of every configuration file."""

from deployer.release.render.everything import Rendered, render_release
from deployer.release.render.readback import state_of

__all__ = ["Rendered", "render_release", "state_of"]

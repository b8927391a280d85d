"""Prints what pyproject.toml asks for: the base dependencies, or those of the extras that are named."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = sys.argv[1:]
wanted = [r for extra in extras for r in project["optional-dependencies"][extra]] if extras else project["dependencies"]
sys.stdout.write("\n".join(wanted) + "\n")

"""Run by test_store_layout.py in a process of its own: publish again and again, each time killed one step later.

Prints one JSON list: for each death the step before which it came, and what was in the model's directory afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from itertools import count
from pathlib import Path

from deployer.domain.store import FileFact, Manifest
from deployer.targets.storage.disk import copy_tree
from deployer.targets.storage.layout import ModelStore
from deployer.targets.storage.manifest import MANIFEST, encode, measure


def publish_until(source: Path, store: ModelStore, death: int, said: int) -> None:
    steps = count()

    def on_step(step: str) -> None:
        if next(steps) == death:
            os.write(said, step.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    with store.stage(None) as staging:
        copy_tree(source, staging.path, on_step=on_step)
        files = measure(staging.path, on_file=lambda path: on_step(f"measure {path}"))
        on_step("write the manifest")
        (staging.path / "assets.extra").mkdir()
        (staging.path / MANIFEST).write_bytes(encode(manifest_of(files)))
        store.publish(staging, on_step=on_step)


def manifest_of(files: dict[str, FileFact]) -> Manifest:
    return Manifest(
        model="m", version=1, created="", source="", tensorflow="", signature="", signatures={}, files=files
    )  # fmt: skip


def main(source: Path, root: Path) -> None:
    store, deaths = ModelStore(root=root, model="m"), []
    for death in count():
        hear, said = os.pipe()
        pid = os.fork()
        if not pid:
            publish_until(source, store, death, said)
            os._exit(0)
        os.close(said)
        _, status = os.waitpid(pid, 0)
        step = os.read(hear, 1000).decode()
        deaths.append({"step": step, "killed": os.WIFSIGNALED(status), "entries": sorted(os.listdir(store.base))})
        if not os.WIFSIGNALED(status):
            break
    json.dump(deaths, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

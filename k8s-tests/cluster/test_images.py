"""The three images as they are: user, size, what is inside, and how they behave as the first process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from eventually import eventually
from model_server_process import is_open

from deployer.tools import ports

TARGETS = ("modelserver", "gateway", "deployer")
LARGEST = {"modelserver": 900_000_000, "gateway": 300_000_000, "deployer": 600_000_000}
READ_ONLY = ("--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL", "--network", "host")
GATEWAY = """
version: v1
models: {digits: {labels: {stable: 1}}}
backends: {static: ["127.0.0.1:1"]}
"""


def docker(*argv: str, timeout: float = 120) -> str:
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def container(image: str, *argv: str, mounts: tuple[str, ...] = ()) -> Iterator[str]:
    """A container under the conditions of the charts: not root, nothing writable but /tmp, no capability."""
    volumes = [part for mount in mounts for part in ("--volume", mount)]
    name = docker("run", "--detach", *READ_ONLY, *volumes, image, *argv)
    try:
        yield name
    finally:
        docker("rm", "--force", name)


def until_listening(port: int, name: str) -> None:
    def listening() -> bool:
        running = docker("inspect", "--format", "{{.State.Running}}", name)
        assert running == "true", docker("logs", name)
        return is_open(port)

    eventually(listening, f"something listens on port {port}")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_small_and_not_root(cluster: Any, target: str) -> None:
    (facts,) = json.loads(docker("image", "inspect", cluster.image(target)))

    assert facts["Config"]["User"].partition(":")[0] == "65532"
    assert facts["Size"] < LARGEST[target]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_left_of_the_build(cluster: Any, target: str) -> None:
    code = (
        "import shutil, sys, pathlib; "
        "tools = [t for t in ('gcc', 'cc', 'make', 'ld', 'git') if shutil.which(t)]; "
        "app = pathlib.Path(sys.prefix); "
        "tools += [p.name for p in app.glob('lib/python3*/site-packages/pip')]; "
        "tools += [str(p) for p in app.glob('lib/python3*/site-packages/numpy/**/tests')]; "
        "print(tools)"
    )
    assert docker("run", "--rm", *READ_ONLY, "--entrypoint", "python", cluster.image(target), "-c", code) == "[]"


@pytest.mark.parametrize("target", TARGETS)
def test_no_start_has_to_compile_the_code(cluster: Any, target: str) -> None:
    code = (
        "import importlib.util, pathlib; "
        "files = [*pathlib.Path('/opt/app/src').rglob('*.py')]; "
        "missing = [str(p) for p in files if not pathlib.Path(importlib.util.cache_from_source(str(p))).exists()]; "
        "print(len(files) > 10, missing)"
    )
    run = ("run", "--rm", *READ_ONLY, "--entrypoint", "python")
    assert docker(*run, cluster.image(target), "-c", code) == "True []"


@pytest.mark.parametrize(
    ("target", "packages"),
    [
        ("modelserver", ("tfserving.server.lifecycle",)),
        ("gateway", ("gateway.app", "gateway.lifecycle", "gateway.backends.http2", "gateway.preprocess")),
        (
            "deployer",
            ("deployer.experiment.loadgen.__main__", "deployer.targets.cluster.target", "deployer.models.publish"),
        ),
    ],
)
def test_everything_that_is_imported_is_there(cluster: Any, target: str, packages: tuple[str, ...]) -> None:
    code = "\n".join(f"import {package}" for package in packages)
    docker("run", "--rm", *READ_ONLY, "--entrypoint", "python", cluster.image(target), "-c", code)


def test_the_gateway_has_no_tensorflow(cluster: Any) -> None:
    code = "import importlib.util as u; print([n for n in ('tensorflow', 'kubernetes', 'deployer') if u.find_spec(n)])"
    assert docker("run", "--rm", "--entrypoint", "python", cluster.image("gateway"), "-c", code) == "[]"


def test_the_deployer_prints_its_help(cluster: Any) -> None:
    assert "publish" in docker("run", "--rm", *READ_ONLY, cluster.image("deployer"), "--help")


def test_the_model_server_predicts_and_ends_well_on_sigterm(cluster: Any, digits: Any) -> None:
    port, rest = ports.free(2)
    flags = (f"--port={port}", f"--rest_api_port={rest}", "--model_name=digits", "--model_base_path=/models/digits")
    with container(cluster.image("modelserver"), *flags, mounts=(f"{digits.store}:/models:ro",)) as name:
        until_listening(rest, name)
        assert docker("exec", name, "cat", "/proc/1/comm").startswith("python")
        body = {"instances": [[[[0.0]] * 8] * 8]}
        answer = requests.post(f"http://127.0.0.1:{rest}/v1/models/digits:predict", json=body, timeout=30)
        assert sum(answer.json()["predictions"][0]) == pytest.approx(1, abs=1e-5), answer.text

        assert ended(name) == 0


def test_the_gateway_ends_well_on_sigterm(cluster: Any, tmp_path: Path) -> None:
    (port,) = ports.free(1)
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    tmp_path.chmod(0o755)
    flags = ("--config=/etc/gateway/gateway.yaml", "--host=127.0.0.1", f"--port={port}")
    with container(cluster.image("gateway"), *flags, mounts=(f"{tmp_path}:/etc/gateway:ro",)) as name:
        until_listening(port, name)

        assert ended(name) == 0


def ended(name: str) -> int:
    """The exit code of a container that was told to end, and was not killed for taking too long."""
    docker("stop", "-t", "40", name)
    return int(docker("inspect", "--format", "{{.State.ExitCode}}", name))

"""Each fault that a release on this machine can have, made in a real one: its cause, evidence, remedy and exit code.

A fault is undone before the next one, so that the release is healthy in between.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from eventually import eventually

from deployer.cli.__main__ import main
from deployer.targets.local.state import Layout

DESCRIPTION = (
    "release: small\nstore: store\nmodels: [scale]\nserving: {replicas: 2}\ngateway: {limits: {timeout_ms: 2000}}\n"
)
SERVED = (
    "--label",
    "scale:stable=1",
    "--label",
    "scale:canary=2",
    "--weight",
    "scale:stable=90",
    "--weight",
    "scale:canary=10",
)
Undo = Callable[[], object]


@dataclass(frozen=True)
class Release:
    """A running release; what a fault may take hold of."""

    folder: Path

    @property
    def layout(self) -> Layout:
        return Layout(self.folder / ".deployer" / "small")

    @property
    def store(self) -> Path:
        return self.folder / "store" / "scale"

    def deployer(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "deployer.cli", *arguments, "-f", str(self.folder / "deployer.yaml")]
        return subprocess.run(line, capture_output=True, text=True, timeout=150, check=False)

    def examined(self) -> tuple[int, dict[str, Any]]:
        """Exit code and document of `deployer doctor`."""
        shown = io.StringIO()
        with redirect_stdout(shown):
            code = main(["doctor", "-o", "json", "-f", str(self.folder / "deployer.yaml")])
        return code, json.loads(shown.getvalue())

    def pid(self, name: str) -> int:
        state = self.layout.read()
        assert state is not None
        return next(process.pid for process in state.processes if process.name == name)

    def edited(self, file: Path, pattern: str, text: str) -> Undo:
        """Replace a part of a configuration file, as a hand does it."""
        before = file.read_text()
        after = re.sub(pattern, text, before, flags=re.DOTALL)
        assert after != before
        replaced(file, after)
        return lambda: replaced(file, before)

    def moved(self, path: Path) -> Undo:
        aside = self.folder / "aside"
        path.rename(aside)
        return lambda: aside.rename(path)

    def stopped(self, name: str) -> Undo:
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    def killed(self, name: str) -> Undo:
        os.kill(self.pid(name), signal.SIGKILL)
        return lambda: self.deployer("local", "up")

    def unloadable(self) -> Undo:
        """A third version that no server can load, and the configuration asks for it."""
        shutil.copytree(self.store / "2", self.store / "3")
        (self.store / "3" / "saved_model.pb").write_bytes(b"\xff" * 30)
        undo = self.edited(self.layout.model_config, "versions: 2\n", "versions: 2\nversions: 3\n")

        def both() -> None:
            undo()
            shutil.rmtree(self.store / "3")

        return both


def replaced(file: Path, text: str) -> None:
    draft = file.with_name(f".draft-{file.name}")
    draft.write_text(text)
    draft.replace(file)


@dataclass(frozen=True)
class Fault:
    """`make` breaks the release; the rest is what the doctor has to say of it."""

    make: Callable[[Release], Undo]
    cause: str
    evidence: str
    remedy: str


def model_config(pattern: str, text: str) -> Callable[[Release], Undo]:
    return lambda release: release.edited(release.layout.model_config, pattern, text)


def gateway_config(pattern: str, text: str) -> Callable[[Release], Undo]:
    return lambda release: release.edited(release.layout.gateway_config, pattern, text)


EDITED = "it was edited manually"
FAULTS = {
    "a replica was killed": Fault(
        lambda r: r.killed("replica-0"), "a process has ended", "", "`deployer local up` restarts it"
    ),
    "the gateway was killed": Fault(
        lambda r: r.killed("gateway-0"), "a process has ended", "", "`deployer local up` restarts it"
    ),
    "a replica hangs": Fault(
        lambda r: r.stopped("replica-1"), "it is running but does not respond", "no response within", "`kill -9`"
    ),
    "the gateway hangs": Fault(
        lambda r: r.stopped("gateway-0"), "it is running but does not respond", "returned 503", "gateway-0.log"
    ),
    "a version was deleted": Fault(
        lambda r: r.moved(r.store / "1"),
        "version 1 of model scale has left the model server although it is configured",
        "scale/1 is gone",
        "deployer rollback scale",
    ),
    "the whole model was deleted": Fault(
        lambda r: r.moved(r.store),
        "version 2 of model scale is served, but no longer in the store",
        "scale/2 does not exist",
        "put it back before a replica restarts",
    ),
    "a version cannot be loaded": Fault(
        Release.unloadable,
        "version 3 of model scale cannot be loaded",
        "saved_model.pb",
        "deployer models verify scale",
    ),
    "a version that was never there": Fault(
        model_config("versions: 2\n", "versions: 2\nversions: 9\n"),
        "version 9 of model scale is missing from the store",
        "cannot find",
        "deployer rollback scale",
    ),
    "a base path with a typing error": Fault(
        model_config("store/scale", "store/scall"),
        "version 1 of model scale is served, but no longer in the store",
        "scall/1 does not exist",
        "put it back",
    ),
    "a label without its version": Fault(
        model_config('"canary" value: 2', '"canary" value: 7'),
        "label canary of model scale points to a version that is not served",
        "it points to version 7; served versions are 1, 2",
        "deployer rollback",
    ),
    "a model_config with a syntax error": Fault(
        model_config("config {", "config"), "the current model_config cannot be parsed", "", EDITED
    ),
    "a model_config of another platform": Fault(
        model_config('"tensorflow"', '"pytorch"'), "the current model_config cannot be parsed", "pytorch", EDITED
    ),
    "an empty model_config": Fault(
        model_config(".+", ""),
        "gateways route to model scale, which the model servers are not configured to serve",
        "it has no model",
        EDITED,
    ),
    "a gateway configuration with a syntax error": Fault(
        gateway_config("models:", "models: ["), "the current gateway configuration is invalid", "line", EDITED
    ),
    "a gateway configuration with an unknown key": Fault(
        gateway_config("limits:", "limitations:"),
        "a gateway rejected its new configuration and keeps the old one",
        "limitations",
        "`deployer local up` writes a valid one",
    ),
    "weights of a label that is not there": Fault(
        gateway_config("canary", "beta"),
        "gateways route to label beta of model scale, which does not exist",
        "model_config has canary, stable",
        "deployer rollback",
    ),
    "a model that no server has": Fault(
        gateway_config("scale:", "scales:"),
        "gateways route to model scales, which the model servers are not configured to serve",
        "it has scale",
        EDITED,
    ),
    "a signature that no version has": Fault(
        gateway_config("serving_default", "predict"),
        "requests to label stable of model scale fail",
        "has no signature predict",
        "serving_default; choose one with models[].signature",
    ),
    "other addresses than the replicas'": Fault(
        gateway_config(r"127\.0\.0\.1:\d+", "127.0.0.1:1"),
        "the gateway sends requests to other addresses than those of the replicas",
        "it lists 127.0.0.1:1",
        "`deployer local up` writes the addresses again",
    ),
    "an API key that the deployer does not have": Fault(
        lambda r: with_keys(r), "requests to label stable of model scale fail", "401", "DEPLOYER_API_KEY"
    ),
}
"""What a fault is, and what is said of it."""

REFUSED = {
    "the model_config was deleted": Fault(
        lambda r: r.moved(r.layout.model_config),
        "models.config cannot be read",
        "no such file",
        "`deployer local down` and",
    ),
    "the gateway configuration was deleted": Fault(
        lambda r: r.moved(r.layout.gateway_config),
        "gateway.yaml cannot be read",
        "no such file",
        "`deployer local down` and",
    ),
    "a damaged state": Fault(
        lambda r: r.edited(r.layout.state, ".{50}$", ""),
        "is not the state of a local release",
        "",
        "stop its processes",
    ),
    "no state": Fault(lambda r: r.moved(r.layout.state), "no release is running", "", "`deployer local up` starts it"),
}
"""Without these files nothing can be examined: an error with the same exit code, and its remedy."""


def with_keys(release: Release) -> Undo:
    digest = "0" * 64
    (release.layout.config / "keys.yaml").write_text(f"keys: [{{name: shop, sha256: '{digest}'}}]\n")
    settings = yaml.safe_load(release.layout.gateway_config.read_text())
    keys = yaml.safe_dump({**settings, "auth": {"keys_file": "keys.yaml"}})
    return release.edited(release.layout.gateway_config, r"\A.*\Z", keys.replace("\\", r"\\"))


@pytest.fixture(scope="module")
def release(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A release with two replicas and two labels."""
    folder = tmp_path_factory.mktemp("faults")
    shutil.copytree(small_store, folder / "store")
    (folder / "deployer.yaml").write_text(DESCRIPTION)
    running = Release(folder)
    up = running.deployer("local", "up", *SERVED)
    assert up.returncode == 0, up.stderr
    yield running
    running.deployer("local", "down")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_evidence_and_remedy(release: Release, name: str) -> None:
    fault = FAULTS[name]

    def named() -> dict[str, Any] | None:
        code, document = release.examined()
        findings = document["result"]["diagnosis"]["findings"] if "result" in document else []
        found = next(
            (one for one in findings if one["cause"] == fault.cause and fault.evidence in one["evidence"]), None
        )
        assert code == (6 if any(one["severity"] == "error" for one in findings) else 0)
        return found

    undo = fault.make(release)
    try:
        found = eventually(named, lambda: release.deployer("doctor").stdout, seconds=60)
    finally:
        undo()
    assert found is not None
    assert found["severity"] == "error"
    assert fault.remedy in found["remedy"]
    assert found["subjects"]
    eventually(lambda: release.examined()[0] == 0, lambda: release.deployer("doctor").stdout, seconds=90)


@pytest.mark.parametrize("name", REFUSED)
def test_without_its_files_a_release_is_refused_with_a_remedy(release: Release, name: str) -> None:
    fault = REFUSED[name]
    undo = fault.make(release)
    try:
        code, document = release.examined()
    finally:
        undo()
    assert code == 6
    assert fault.cause in document["error"]["message"]
    assert fault.evidence in document["error"]["cause"]
    assert fault.remedy in document["error"]["hint"]

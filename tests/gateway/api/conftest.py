"""A gateway before a real model server with models of every kind of tensor, for the tests of protocols."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_process import GatewayProcess, protocol_config
from grpc_caller import Caller
from model_server_process import ModelServerProcess, model_server
from paths import SUPPORT

MODEL = 'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more} }}'
LABELS = """
model_version_policy { specific { versions: 1 versions: 2 } }
version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }
"""


@pytest.fixture(scope="session")
def protocol_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerProcess]:
    """A model server with the models of `protocol_models.py`."""
    folder = tmp_path_factory.mktemp("protocols")
    program = [sys.executable, str(SUPPORT / "protocol_models.py"), str(folder)]
    subprocess.run(program, check=True, capture_output=True, timeout=170)
    entries = (MODEL.format(name=name, base=folder / name, more=LABELS if name == "scale" else "")
               for name in ("scale", "types", "strange"))  # fmt: skip
    (folder / "models.conf").write_text(f"model_config_list {{ {' '.join(entries)} }}")
    flags = (f"--model_config_file={folder / 'models.conf'}", "--allow_version_labels_for_unavailable_models=true")
    with model_server(folder, *flags) as server:
        yield server


@pytest.fixture(scope="session")
def protocol_address(protocol_server: ModelServerProcess) -> str:
    """Its gRPC address."""
    return protocol_server.grpc


@pytest.fixture(scope="session")
def protocols(tmp_path_factory: pytest.TempPathFactory, protocol_address: str) -> Iterator[GatewayProcess]:
    """A gateway for tests that leave it as it is."""
    folder: Path = tmp_path_factory.mktemp("protocol-gateway")
    gateway = GatewayProcess(folder, protocol_config(protocol_address), "--grpc-port", "0", "--drain-seconds", "0")
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def caller(protocols: GatewayProcess) -> Iterator[Caller]:
    found = Caller(protocols.grpc)
    yield found
    found.channel.close()

"""A gateway as its users run it: a process of its own, with a config file."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import requests
import yaml
from eventually import eventually
from paths import ROOT, SUPPORT


def spec(*, scale: float = 1.0, features: tuple[str, ...] = ("a", "b")) -> dict[str, Any]:
    """A feature spec whose tensor is the features divided by `scale`."""
    return {
        "features": [{"name": name, "type": "float", "normalize": {"mean": 0, "std": scale}} for name in features],
        "input": {"name": "x", "dtype": "float32", "shape": [-1, len(features)]},
        "output": {"name": "y", "kind": "regression"},
    }


def config(*addresses: str, **changes: Any) -> dict[str, Any]:
    """A config of one model `m`: version 1 is served as it is, version 2 gets its features divided by 2."""
    content: dict[str, Any] = {
        "version": "v1",
        "models": {
            "m": {
                "labels": {"stable": 1, "canary": 2},
                "routing": {"weights": {"stable": 100, "canary": 0}},
                "specs": {"1": spec(), "2": spec(scale=2.0)},
            }
        },
        "backends": {"static": list(addresses)},
    }
    return copy.deepcopy(content) | changes


def protocol_config(address: str) -> dict[str, Any]:
    """A config for the models of `protocol_models.py`; `scale` has two labels and is sticky by the header x-user."""
    routing = {"weights": {"stable": 100, "canary": 0}, "sticky": {"header": "x-user"}}
    return {
        "version": "v1",
        "models": {
            "scale": {"labels": {"stable": 1, "canary": 2}, "routing": routing},
            "types": {},
            "strange": {},
        },
        "backends": {"static": [address]},
    }


class GatewayProcess:
    """Started when made; `stop` sends SIGTERM and gives the exit code."""

    grpc: str
    """Address of the gRPC port; only with the flag --grpc-port."""

    def __init__(self, folder: Path, content: dict[str, Any], *flags: str) -> None:
        self.file = folder / "gateway.yaml"
        self.output = folder / "access.log"
        """What it writes to standard output."""
        self.write(content)
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", f"--config={self.file}", "--port=0", "--admin-port=0", *flags],
                cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=output, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._process.stderr is not None
        self.log: list[str] = []
        for line in self._process.stderr:
            self.log.append(line)
            if "the admin port is " in line:
                self.admin = line.split("the admin port is ")[1].strip()
            if "gRPC is at " in line:
                self.grpc = line.split("gRPC is at ")[1].strip()
            if "listening on " in line:
                self.url = line.split("listening on ")[1].strip()
                break
        else:
            raise AssertionError("".join(self.log))
        self._reader = threading.Thread(target=lambda: self.log.extend(self._process.stderr or ()), daemon=True)
        self._reader.start()
        self.session = requests.Session()

    def write(self, content: dict[str, Any] | str) -> None:
        """Replace the config file by one rename."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        fresh.replace(self.file)

    def post(self, body: object, *, path: str = "/v1/models/m:predict", **headers: str) -> requests.Response:
        """Send a prediction request; bytes and text go as they are."""
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.post(self.url + path, data=data, headers=names, timeout=30)

    def get(self, path: str) -> requests.Response:
        """GET from the public port."""
        return self.session.get(self.url + path, timeout=30)

    def told(self, path: str) -> requests.Response:
        """GET a page of the admin port as it is now."""
        return self.session.get(self.admin + path, headers={"cache-control": "no-cache"}, timeout=30)

    def metric(self, name: str) -> float:
        """The sum of all series of a metric whose line starts with `name`."""
        lines = [line for line in self.told("/metrics").text.splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def until(self, path: str, wanted: Any) -> None:
        """Wait until a page of the admin port is a document for which `wanted` holds."""
        eventually(lambda: wanted(self.told(path).json()), lambda: self.told(path).text)

    def logs(self, text: str) -> None:
        """Wait until the log says this."""
        eventually(lambda: any(text in line for line in self.log), lambda: "".join(self.log))

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        code = self._process.wait(20)
        self._reader.join(5)
        if self._process.stderr is not None:
            self._process.stderr.close()
        self.session.close()
        return code

    def stop(self) -> int:
        if self._process.poll() is None:
            self._process.terminate()
        return self.wait()


class FakeModelServerProcess:
    """The fake model server in a process of its own, so that it can be killed."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, str(SUPPORT / "fake_model_server.py"), str(port)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

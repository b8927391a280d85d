"""A gateway under steady load while everything around it changes: `python -m bench soak [--minutes 10]`.

Clients send one-record requests over TLS with a key at a fixed rate, and open new connections now and then. Meanwhile
model servers are killed or stopped and replaced, with new certificates; the gateway's certificate is rotated, its
config rewritten (also by one that is invalid), its keys renewed. Prints what failed, and the gateway's memory and
descriptors over time: requests that were refused with Retry-After count apart from failed ones.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from bench.gateway import FEATURES, MODEL, gateway_config, start_process, wait_for_port
from deployer.records.http1 import HttpError, Pool, post
from deployer.tools.client_tls import ClientTls
from deployer.tools.ports import free
from tfserving.config import SSLConfig

CLIENTS = 8
RATE = 15.0
"""Requests a second of each client."""
CONNECTION_REQUESTS = 40
"""Requests of a client on one connection."""
REPLICAS = 3
CHANGE_SECONDS = 6.0
"""Between two changes."""
READ_SECONDS = 5.0
"""Between two readings of memory and descriptors."""
KEY = "soak-0123456789abcdef"
BODY = b'{"records": [{' + b", ".join(b'"feature_%02d": %d.5' % (index, index) for index in range(FEATURES)) + b"}]}"


def main(arguments: list[str]) -> None:
    """Print the outcomes, and the trends."""
    minutes = command_line().parse_args(arguments).minutes
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            world.start()
            asyncio.run(soak(world, minutes * 60))
        finally:
            world.stop()


def command_line() -> argparse.ArgumentParser:
    """The options."""
    line = argparse.ArgumentParser(prog="python -m bench soak")
    line.add_argument("--minutes", type=float, default=1.0)
    return line


class World:
    """Model servers, a gateway, and their files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        *self.ports, self.port, self.admin = free(REPLICAS + 2)
        self.replicas: dict[int, subprocess.Popen[bytes]] = {}
        self.gateway: subprocess.Popen[bytes]

    def start(self) -> None:
        """Return when all of it serves."""
        _openssl(self.folder, "req", "-x509", *NEW, "-subj", "/CN=soak ca", "-keyout", "ca.key", "-out", "ca.pem")
        model = [sys.executable, "-c", MODEL, str(self.folder / "model" / "1")]
        subprocess.run(model, check=True, timeout=120, stderr=subprocess.DEVNULL)
        for port in self.ports:
            self.begin(port)
        for port in self.ports:
            wait_for_port(port)
        self.issue("gateway")
        self.renew_keys()
        self.configure()
        ports = ["--port", str(self.port), "--admin-port", str(self.admin)]
        self.gateway = start_process([sys.executable, "-m", "gateway", "--config", str(self.config), *ports])
        wait_for_port(self.port)

    def stop(self) -> None:
        """End all processes."""
        for process in (*self.replicas.values(), *([self.gateway] if hasattr(self, "gateway") else [])):
            process.kill()
            process.wait(20)

    @property
    def config(self) -> Path:
        return self.folder / "gateway.yaml"

    def begin(self, port: int) -> None:
        """Start a model server with a certificate of its own."""
        self.issue("server")
        read = {name: (self.folder / f"server.{end}").read_text() for name, end in PARTS.items()}
        ssl = self.folder / f"ssl-{port}.config"
        ssl.write_text(SSLConfig(**read, custom_ca=self.ca, client_verify=True).to_text())
        where = ["--model_name=m", f"--model_base_path={self.folder / 'model'}", f"--ssl_config_file={ssl}"]
        self.replicas[port] = start_process([sys.executable, "-m", "tfserving.server", f"--port={port}", *where])

    def replace(self, port: int, *, kill: bool) -> None:
        """End a model server, and start another one in its place."""
        process = self.replicas[port]
        process.kill() if kill else process.terminate()
        process.wait(60)
        self.begin(port)

    @property
    def ca(self) -> str:
        return (self.folder / "ca.pem").read_text()

    def issue(self, name: str) -> None:
        """A new certificate and key, each by one rename."""
        made = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1", "-subj", f"/CN={name}")
        _openssl(self.folder, "req", "-x509", *NEW, *made, "-keyout", f"{name}.key.new", "-out", f"{name}.crt.new")
        for end in ("key", "crt"):
            (self.folder / f"{name}.{end}.new").replace(self.folder / f"{name}.{end}")

    def renew_keys(self) -> None:
        """The same key beside another one."""
        both = {"deployer": KEY, "other": os.urandom(8).hex()}
        keys = [{"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in both.items()]
        _write(self.folder / "keys.yaml", yaml.safe_dump({"keys": keys}))

    def configure(self, **changes: Any) -> None:
        """Rewrite the config."""
        document = gateway_config(self.ports[0])
        pair = {"cert_file": "gateway.crt", "key_file": "gateway.key"}
        document["backends"] = {
            "static": [f"127.0.0.1:{port}" for port in self.ports], "tls": {"ca_file": "ca.pem", **pair},
        }  # fmt: skip
        document |= {"tls": pair, "auth": {"keys_file": "keys.yaml"}, **changes}
        _write(self.config, yaml.safe_dump(document))


NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
PARTS = {"server_key": "key", "server_cert": "crt"}


async def soak(world: World, seconds: float) -> None:
    """Load, changes and readings side by side."""
    outcomes: Counter[str] = Counter()
    readings: list[tuple[float, float, int]] = []
    until = time.monotonic() + seconds
    changes = asyncio.create_task(_change(world))
    reading = asyncio.create_task(_read(world.gateway.pid, readings))
    await asyncio.gather(*(_client(world, outcomes, until) for _ in range(CLIENTS)))
    for task in (changes, reading):
        task.cancel()
    made, *_ = await asyncio.gather(changes, reading, return_exceptions=True)
    if isinstance(made, Exception):
        raise made
    answered, refused = outcomes.pop("200", 0), outcomes.pop("refused", 0)
    print(f"{seconds:.0f} s: {answered} answered, {refused} refused with Retry-After, {outcomes.total()} failed")
    for name, count in outcomes.most_common():
        print(f"  {count} × {name}")
    print(", ".join(f"{count} × {name}" for name, count in CHANGES.items()))
    third = max(1, len(readings) // 3)
    for what, at, form in (("memory of the gateway", 1, "{:.1f} MiB"), ("descriptors", 2, "{:.0f}")):
        first, last = (
            median(float(one[at]) for one in part) for part in (readings[third : 2 * third], readings[-third:])
        )
        print(f"{what}: {form.format(first)} in the second third, {form.format(last)} in the last")


CHANGES: Counter[str] = Counter()


async def _change(world: World) -> None:
    """One thing after the other, for ever."""
    dice = random.Random(1)
    for turn in itertools.count():
        await asyncio.sleep(CHANGE_SECONDS)
        match turn % 6:
            case 0 | 3:
                kill = turn % 6 == 0
                await asyncio.to_thread(world.replace, dice.choice(world.ports), kill=kill)
                CHANGES["model server killed" if kill else "model server stopped"] += 1
            case 1:
                await asyncio.to_thread(world.issue, "gateway")
                CHANGES["certificate rotated"] += 1
            case 2:
                world.configure(limits={"max_records": dice.randrange(10, 1000)})
                CHANGES["config rewritten"] += 1
            case 4:
                _write(world.config, dice.choice(["models: [", "", "version: v1\n"]))
                CHANGES["invalid config"] += 1
            case _:
                world.renew_keys()
                world.configure()
                CHANGES["keys renewed"] += 1


async def _client(world: World, outcomes: Counter[str], until: float) -> None:
    tls = ClientTls(ca=world.ca)
    pool = Pool(f"https://127.0.0.1:{world.port}", timeout=20, tls=tls)
    message = post(pool.authority, "/v1/models/m:predict", BODY, headers=(("x-api-key", KEY),))
    for number in itertools.count(1):
        began = time.monotonic()
        if began >= until:
            break
        try:
            reply = await pool.request(message)
        except HttpError as error:
            outcomes[f"{error.code}: {error}"] += 1
        else:
            if reply.status in (429, 503) and reply.retry_after is not None:
                outcomes["refused"] += 1
            else:
                outcomes[str(reply.status) if reply.status == 200 else f"{reply.status} {reply.body[:200]!r}"] += 1
        if number % CONNECTION_REQUESTS == 0:
            pool.close()
        await asyncio.sleep(max(0.0, began + 1 / RATE - time.monotonic()))
    pool.close()


async def _read(pid: int, readings: list[tuple[float, float, int]]) -> None:
    while True:
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            size = pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
            readings.append((time.monotonic(), size, len(os.listdir(f"/proc/{pid}/fd"))))
        await asyncio.sleep(READ_SECONDS)


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.replace(path)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


if __name__ == "__main__":
    main(sys.argv[1:])

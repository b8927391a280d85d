"""How long the admin port takes while the gateway is saturated and throttled: `python -m bench admin [CPUS]`.

The gateway and the process of its admin port share one cgroup with CPUS (0.05 by default) of a CPU in periods of
100 ms, as a container with such a limit has. Clients in other processes ask for predictions all the time, more than a
hundred times what it can answer; one of them sends a large body. Meanwhile a probe of its own process asks for each
page, every time by a new connection as the kubelet does. Needs root and the cpu controller of cgroup v1 or v2.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

import yaml

from bench.gateway import gateway_config, request_bytes, start_model_server, start_process, wait_for_port
from deployer.tools.ports import free

CLIENTS = 24
LARGE = 10_000
"""Records in the large body."""
PROBES = 150
PERIOD_MICROS = 100_000
PAGES = ("/readyz", "/livez", "/metrics")
CLIENT = """
import socket, sys
port, message = int(sys.argv[1]), sys.stdin.buffer.read()
while True:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            while True:
                connection.sendall(message)
                if not connection.recv(1 << 20):
                    break
    except OSError:
        pass
"""


def main(arguments: list[str]) -> None:
    """Print one line per page: median, 99th percentile and longest time in milliseconds."""
    cpus = float(arguments[0]) if arguments else 0.05
    with tempfile.TemporaryDirectory() as folder:
        server_port, port, admin_port = free(3)
        server = start_model_server(Path(folder, "model"), server_port)
        config = Path(folder, "gateway.yaml")
        config.write_text(yaml.safe_dump(gateway_config(server_port)))
        ports = ["--port", str(port), "--admin-port", str(admin_port)]
        started = [server, start_process([sys.executable, "-m", "gateway", "--config", str(config), *ports])]
        group = None
        try:
            wait_for_port(port)
            group = _limited(started[-1].pid, cpus)
            for client in range(CLIENTS):
                started.append(start_process([sys.executable, "-c", CLIENT, str(port)], stdin=subprocess.PIPE))
                pipe = started[-1].stdin
                assert pipe is not None
                pipe.write(request_bytes(LARGE if client == 0 else 1))
                pipe.close()
            time.sleep(5)
            for page in PAGES:
                times = sorted(_asked(f"http://127.0.0.1:{admin_port}{page}") for _ in range(PROBES))
                middle, high = median(times), times[int(0.99 * len(times))]
                print(f"{page:9} p50 {middle * 1000:5.1f}  p99 {high * 1000:5.1f}  longest {times[-1] * 1000:5.1f} ms")
        finally:
            for process in reversed(started):
                process.kill()
                process.wait(20)
            if group is not None:
                _removed(group)


def _asked(url: str) -> float:
    before = time.perf_counter()
    with urllib.request.urlopen(url, timeout=30) as answer:
        answer.read()
    took = time.perf_counter() - before
    time.sleep(0.037)  # at another point of the period each time
    return took


def _limited(pid: int, cpus: float) -> Path:
    """A cgroup with the process and its children."""
    second = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    group = Path("/sys/fs/cgroup" if second else "/sys/fs/cgroup/cpu", f"bench-admin-{os.getpid()}")
    group.mkdir()
    quota = round(cpus * PERIOD_MICROS)
    if second:
        Path(group, "cpu.max").write_text(f"{quota} {PERIOD_MICROS}")
    else:
        Path(group, "cpu.cfs_period_us").write_text(str(PERIOD_MICROS))
        Path(group, "cpu.cfs_quota_us").write_text(str(quota))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for member in (str(pid), *children):
        Path(group, "cgroup.procs").write_text(member)
    return group


def _removed(group: Path) -> None:
    for _ in range(50):
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1:])

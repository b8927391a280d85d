"""`python -m bench` lists the benchmarks, `python -m bench NAME` runs one."""

from __future__ import annotations

import importlib
import sys

BENCHES = {
    "gateway": "CPU time of the gateway per request and per record, beside a bare uvicorn application",
    "overload": "goodput and latency at multiples of the capacity of replicas with a CPU share",
    "protocols": "CPU time of the gateway per request in each protocol, REST and gRPC",
    "soak": "requests that fail, memory and descriptors while servers, configs and certificates change under load",
    "admin": "how long the admin port takes while the gateway is saturated and throttled",
    "model_server": "CPU time and latency of one request to the embedded model server",
    "preprocess": "CPU time of records to tensors and of outputs to predictions, per feature type beside plain floats",
    "drift": "CPU time of counting one record for drift, and its share of a request",
    "batch": "rows per second of deployer batch beside one-record requests of the same client on the same cores",
    "libraries": "CPU time of libraries beside the own code that stands in their place",
    "model_server_rest": "CPU time of each step of a REST request, without a model",
}


def main(arguments: list[str]) -> int:
    """Run the named benchmark, or print the list."""
    if not arguments or arguments[0] not in BENCHES:
        for name, what in BENCHES.items():
            print(f"{name:<16} {what}")
        return 0 if not arguments else 2
    importlib.import_module(f"bench.{arguments[0]}").main(arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

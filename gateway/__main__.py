"""`python -m gateway --config gateway.yaml --host 127.0.0.1 --port 8080`"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from enum import IntEnum
from pathlib import Path


class Exit(IntEnum):
    """How the process ends."""

    DRAINED = 0
    MISSING = 1
    """A library is not installed."""
    USAGE = 2
    """argparse's own for a bad command line."""
    CONFIG = 3
    PORT = 6


def command_line() -> argparse.ArgumentParser:
    """The flags of the gateway."""
    parser = argparse.ArgumentParser(
        prog="gateway", description="Records in, predictions out, before TensorFlow Serving."
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="the gateway's config file; read again when it changes"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on, :: for all of IPv4 and IPv6 (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="port to listen on, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--admin-port", type=int, default=8081,
        help="port for health, metrics and routes, 0 for a free one (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--grpc-port", type=int, help="port for gRPC, 0 for a free one (default: no gRPC)")
    parser.add_argument(
        "--drain-seconds", type=float, default=5.0,
        help="how long new requests are still accepted after SIGTERM (default: %(default)s)",
    )  # fmt: skip
    return parser


def main(arguments: list[str]) -> int:
    """Run the gateway; return the exit code, one of `Exit`."""
    line = command_line().parse_args(arguments)
    try:
        import uvloop

        from gateway.lifecycle import Options, run
        from gateway.listen.sockets import PortTaken
        from gateway.settings import SettingsError
    except ModuleNotFoundError as error:
        return _missing(error)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s"
    )
    _calm_the_collector()
    options = Options(
        config=line.config,
        host=line.host,
        port=line.port,
        admin_port=line.admin_port,
        grpc_port=line.grpc_port,
        drain_seconds=line.drain_seconds,
    )
    try:
        uvloop.run(run(options, announce=_announce))
    except SettingsError as error:
        return _failed(
            str(error), "correct the config file; docs/reference/gateway.md lists every key", code=Exit.CONFIG
        )
    except ModuleNotFoundError as error:  # what gRPC alone needs
        return _missing(error)
    except PortTaken as error:
        return _failed(str(error), "choose another --port, --admin-port or --grpc-port", code=Exit.PORT)
    return Exit.DRAINED


def _announce(url: str, admin_url: str, grpc: str | None) -> None:
    logging.getLogger("gateway").info("the admin port is %s", admin_url)
    if grpc is not None:
        logging.getLogger("gateway").info("gRPC is at %s", grpc)
    logging.getLogger("gateway").info("listening on %s", url)


def _calm_the_collector() -> None:
    """Modules live for ever and requests leave no cycles: looking through everything often is wasted time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def _missing(error: ModuleNotFoundError) -> int:
    return _failed(
        f"the gateway needs the module {error.name}, which is not installed",
        "pip install 'tfserving-deployer[gateway]', or use the image of the gateway",
        code=Exit.MISSING,
    )


def _failed(what: str, hint: str, *, code: int) -> int:
    sys.stderr.write(f"error: {what}\nhint: {hint}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m tfserving.server --port=8500 --rest_api_port=8501 --model_config_file=…`"""

from __future__ import annotations

import logging
import os
import sys

from tfserving import flags

_log = logging.getLogger("tfserving.server")
WHO = "embedded model server of tfserving-deployer"


def main(arguments: list[str]) -> int:
    """Run the server; the exit code is the real server's, 0 after a drain."""
    try:
        return _run(arguments)
    except ModuleNotFoundError as error:
        _print(
            f"Failed to start server. Error: the module {error.name} is not installed; "
            "pip install 'tfserving-deployer[server]' brings it"
        )
        return flags.USAGE_EXIT_CODE


def _run(arguments: list[str]) -> int:
    from tfserving.server import lifecycle, settings
    from tfserving.server.execution import runtime
    from tfserving.wire.status import StatusError

    line = flags.parse(arguments)
    if line.unknown:
        _print(f"unknown argument: {line.unknown}")
    if line.error:
        _print(flags.usage("tfserving.server"))
        return lifecycle.Exit.FAILED
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s"
    )
    try:
        if line.on("version"):
            _print(f"TensorFlow ModelServer: {WHO}\nTensorFlow Library: {runtime.version()}")
            return lifecycle.Exit.DRAINED
        _log.info("This is the %s on TensorFlow %s, not tensorflow_model_server", WHO, runtime.version())
        for name in sorted(line.given & set(settings.WITHOUT_EFFECT)):
            _log.warning("--%s is accepted and has no effect here", name)
        server = lifecycle.start(line)
    except StatusError as error:
        _print(f"Failed to start server. Error: {error}")
        return lifecycle.Exit.FAILED
    server.wait()
    return lifecycle.Exit.DRAINED


def _print(text: str) -> None:
    sys.stdout.write(text.encode("utf-8", "replace").decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that load or wait must not delay the end, and the runtime's own teardown is not needed.
    os._exit(code)

"""`python -m deployer.experiment.loadgen --plan plan.json --out result.json`: one trial of load.

Marks of the trial are written to stdout, one JSON object per line, so that the caller can inspect the system under test
when the measured window opens and closes.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec

from deployer.errors import DeployerError
from deployer.experiment.loadgen.plan import parse_plan
from deployer.experiment.loadgen.workers import Mark, Workers


def main(arguments: list[str] | None = None) -> int:
    """Run one plan; return the exit code (see `deployer.errors`)."""
    parser = argparse.ArgumentParser(prog="python -m deployer.experiment.loadgen", description="Run one trial of load.")
    parser.add_argument("--plan", type=Path, required=True, help="JSON file: what to send, where, how fast")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write the outcome to")
    options = parser.parse_args(arguments)
    try:
        plan = parse_plan(options.plan.read_bytes())
        with Workers() as workers:
            outcome = workers.run(plan, _write_mark)
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except DeployerError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    options.out.write_bytes(msgspec.json.encode(outcome))
    return 0


def _write_mark(mark: Mark) -> None:
    sys.stdout.write(msgspec.json.encode({"window": mark.value, "at": time.time()}).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""python -m replay [FOLDER]: replay recordings, or make them. Result on stdout, progress on stderr."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from replay.cases import NOT_PLAYED, Case, Json, RecordingError, Recordings, load
from replay.compare import judge
from replay.play import Settings, play
from replay.report import Outcome, Report, known_failures
from replay.server import command_line

HERE = Path(__file__).resolve().parents[1]
EMBEDDED = f"{shlex.quote(sys.executable)} -m tfserving.server {{args}}"

_EVERY = 10.0
"""Seconds between two lines of progress."""


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/conformance",
        description="Replay recorded responses of a real TensorFlow Serving against a model server, on free ports of "
        "127.0.0.1. Exit code 0: the floor is kept; 1: it is not; 2: the recordings or the command line are wrong.",
    )
    add = parser.add_argument
    add(
        "folder", nargs="?", type=Path, default=HERE, help="has cases/, models/, recorded.jsonl; default: the project's"
    )
    add("--server", default=EMBEDDED, help="its command line, {args} where its flags go; default: the embedded server")
    add("--only", type=re.compile, help="only cases whose id or scenario has this pattern")
    add("--jobs", type=int, default=4, help="servers at a time (default 4)")
    add("--slack", type=float, default=20, help="seconds by which a start or a wait may be slower (default 20)")
    add(
        "--known",
        type=Path,
        help="known failures; default: known.toml of the folder for the embedded server, else none",
    )
    add("--floor", type=float, help="share of the cases that must pass; default: 1 here, 0.9 of a FOLDER")
    add("--exact", action="store_true", help="headers, the text of JSON and times must agree too")
    add("--record", type=Path, metavar="FILE", help="write the server's responses to FILE instead of comparing them")
    add("-v", "--verbose", action="store_true", help="show every difference, also those that fail nothing")
    return parser


class Progress:
    """How far a replay is, every few seconds on stderr. Called from several threads."""

    def __init__(self, total: int) -> None:
        self._total, self._lock = total, threading.Lock()
        self._done = self._failed = 0
        self._begun = self._told = time.monotonic()

    def add(self, *, failed: bool) -> None:
        """One case more."""
        with self._lock:
            self._done += 1
            self._failed += failed
            now = time.monotonic()
            if now - self._told >= _EVERY or self._done == self._total:
                self._told = now
                seconds = round(now - self._begun)
                sys.stderr.write(f"{self._done} of {self._total} cases, {self._failed} differ, {seconds} s\n")


def main(words: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = arguments().parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no server is left behind
    try:
        recordings = load(options.folder)
        cases = [case for case in recordings.cases if not options.only or _chosen(case, options.only)]
        if not cases:
            raise RecordingError(f"no case and no scenario has the pattern {options.only.pattern}")
        program = command_line(options.server, [])[0]
        if shutil.which(program) is None:
            raise RecordingError(f"there is no program {program}")
        settings = Settings(server=options.server, jobs=options.jobs, slack=options.slack)
        if options.record:
            return _record(recordings, cases, settings, options.record)
        return _compare(recordings, cases, settings, options)
    except RecordingError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130


def _chosen(case: Case, pattern: re.Pattern[str]) -> bool:
    return bool(pattern.search(case.id) or pattern.search(case.scenario or ""))


def _record(recordings: Recordings, cases: list[Case], settings: Settings, file: Path) -> int:
    answers: dict[str, Json] = {}
    progress = Progress(len(cases))

    def keep(case: Case, answer: Json) -> None:
        answers[case.id] = answer
        progress.add(failed=_not_played(answer))

    play(recordings, cases, settings, keep)
    with file.open("w", encoding="utf-8") as lines:
        for case in cases:
            lines.write(json.dumps({"id": case.id, "answer": answers[case.id]}, sort_keys=True) + "\n")
    bad = sorted(name for name, answer in answers.items() if _not_played(answer))
    sys.stdout.write(f"{len(answers)} cases recorded{f'; not played: {bad}' if bad else ''}\n")
    return 1 if bad else 0


def _not_played(answer: Json) -> bool:
    return isinstance(answer, dict) and NOT_PLAYED in answer


def _compare(recordings: Recordings, cases: list[Case], settings: Settings, options: argparse.Namespace) -> int:
    if missing := [case.id for case in cases if case.id not in recordings.answers]:
        raise RecordingError(f"no answers are recorded for {len(missing)} cases: {', '.join(missing[:5])}")
    own = options.folder.resolve() == HERE
    floor = options.floor if options.floor is not None else 1.0 if own else 0.9
    report = Report(known=_known(options), floor=floor)

    def judged(take: Callable[[Outcome], None], progress: Progress) -> Callable[[Case, Json], None]:
        def observe(case: Case, answer: Json) -> None:
            found = tuple(judge(case, recordings.answers[case.id], answer))
            outcome = Outcome(case=case, answer=answer, differences=found, exact=options.exact)
            take(outcome)
            progress.add(failed=outcome.failed)

        return observe

    play(recordings, cases, settings, judged(report.add, Progress(len(cases))))
    if again := report.to_retry():
        # Cases that share a server may build on each other, so all of its cases are played again.
        servers = {case.scenario or case.id for case in again}
        with_them = [case for case in cases if (case.scenario or case.id) in servers]
        sys.stderr.write(f"once more, {len(again)} cases in which time plays a part\n")
        play(recordings, with_them, settings, judged(report.add_again, Progress(len(with_them))))
    for line in report.lines(verbose=options.verbose):
        sys.stdout.write(f"{line}\n")
    return 0 if report.passed else 1


def _known(options: argparse.Namespace) -> dict[str, str]:
    if options.known:
        return known_failures(options.known)
    file = options.folder / "known.toml"
    return known_failures(file) if options.server == EMBEDDED and file.exists() else {}


if __name__ == "__main__":
    sys.exit(main())

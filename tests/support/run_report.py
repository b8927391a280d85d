"""A pytest plug-in: repeats what failed (`--again`), and ends each run with what was skipped and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

WHOLE_MODULES = "k8s-tests/cluster/"
"""Tests there build on what the ones before them left in the cluster."""


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "run only what failed last time; append to FILE what passes now, which is flaky"
    parser.addoption("--again", metavar="FILE", help=text)


def pytest_configure(config: pytest.Config) -> None:
    if file := config.getoption("again"):
        config.pluginmanager.register(_Again(config, Path(file)))


class _Again:
    """Selects what failed last time, and notes what passes now."""

    def __init__(self, config: pytest.Config, file: Path) -> None:
        assert config.cache is not None
        self._before = frozenset(config.cache.get("cache/lastfailed", {}))
        self._file = file
        self._outcomes: dict[str, set[str]] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        whole = {_module(name) for name in self._before if name.startswith(WHOLE_MODULES) or "::" not in name}
        chosen = [item for item in items if item.nodeid in self._before or _module(item.nodeid) in whole]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._outcomes.setdefault(report.nodeid, set()).add(report.outcome)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):  # a worker of pytest-xdist sees a part only
            flaky = sorted(name for name in self._before if self._outcomes.get(name) == {"passed"})
            with self._file.open("a") as file:
                file.writelines(f"{name}\n" for name in flaky)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a run in which tests were skipped: how many, and for which reasons."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not isinstance(reporter, pytest.TerminalReporter) or hasattr(config, "workerinput"):
        return
    skipped = reporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if reasons:
        counted = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
        reporter.write_line(f"{len(skipped)} tests were skipped. {counted}", yellow=True)


def _module(name: str) -> str:
    return name.partition("::")[0]

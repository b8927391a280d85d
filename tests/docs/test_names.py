"""Every file, module, make target, extra, test and dotted key that a page names exists."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest
from markdown_pages import REFERENCE, Page, pages
from named_paths import absent_paths
from paths import ROOT
from type_keys import inner, leaves

from deployer.release import spec
from gateway.settings import Settings
from gateway.spec import FeatureSpec

NAMES_OF_THEN = ("CHANGELOG.md", "UPGRADING.md")
"""Pages that also tell of what is no more."""
PAGES = [page for page in pages() if page.path.name not in NAMES_OF_THEN]
OF_GRPC = re.compile(r"grpc\.(?!enabled)")
"""Names that gRPC gives its channel arguments and services, beside the chart's only key of that name."""
OF_THEIR_OWN_KEYS = ("deployer-yaml.md", "experiment-json.md", "features-yaml.md", "manifest.md")
"""Pages of one file, which name its keys from where the sentence stands."""
FILE = re.compile(r"\.(config|crt|json|key|log|pem|py|yaml)$")


def missing(pattern: str, exists: Callable[[str], bool]) -> set[str]:
    """What code spans and blocks name by a pattern (its first group) and does not exist, with the page."""
    return {
        f"{page.path.relative_to(ROOT)}: {name}"
        for page in PAGES
        for text in (*page.codes, *(block for _, block in page.blocks))
        for name in re.findall(pattern, text, re.M)
        if not exists(name)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.relative_to(ROOT).as_posix())
def test_files(page: Page) -> None:
    assert absent_paths(page.path.read_text("utf-8")) == []


def test_modules_that_are_run() -> None:
    assert missing(r"python -m ([\w.]+)", lambda name: find_spec(name) is not None) == set()


def test_benchmarks() -> None:
    assert missing(r"python -m bench (\w+)", lambda name: find_spec(f"bench.{name}") is not None) == set()


def test_make_targets() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert missing(r"(?:^|\s)make ([a-z0-9-]+)$", targets.__contains__) == set()


def test_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = r"(?:tfserving-deployer|'\.|^\.)\[([\w,]+)\]"
    assert missing(named, lambda some: set(some.split(",")) <= extras.keys()) == set()


def test_tests() -> None:
    text = "".join(
        path.read_text("utf-8") for tree in ("tests", "k8s-tests") for path in (ROOT / tree).rglob("test_*.py")
    )
    assert missing(r"\b(test_[a-z_]+)(?!\.py|\w)", lambda name: f"def {name}(" in text) == set()


def test_dotted_keys() -> None:
    known = {path for keys in known_keys() for path in (*keys, *inner(keys))}
    known |= {path.replace("[]", "") for path in known} | {path.rpartition("<>.")[2] for path in known}
    tops = {path.split(".")[0].removesuffix("[]") for path in known}
    unknown = {
        f"{page.path.relative_to(ROOT)}: {code}"
        for page in PAGES
        if page.path.name not in OF_THEIR_OWN_KEYS
        for code in page.codes
        if re.fullmatch(r"[a-z]\w*(\.[a-zA-Z_]\w*)+", code) and code.split(".")[0] in tops
        if code not in known and not FILE.search(code) and not OF_GRPC.match(code)
    }
    assert unknown == set()


def known_keys() -> Iterator[set[str]]:
    """The keys of every file that a page may mean."""
    yield set(leaves(spec._Document))
    yield set(leaves(Settings, closed=[FeatureSpec]))
    for table in Page(REFERENCE / "charts.md").tables:
        yield set(table.keys())

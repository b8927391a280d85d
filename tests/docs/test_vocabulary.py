"""Documentation, help and messages use the words of the field, and none of those that they replaced."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

REPLACED = {
    r"(?<!wrong )\banswer(s|ed|ing)?\b": "response, respond, return; `wrong answer` is a key of experiment.json",
    r"\bclaims?\b(?!.*\btoken)": "PVC; a claim of a token names the token after it",
    r"\bsick\b": "unhealthy",
    r"\bentrances?\b": "endpoint",
    r"\bledgers?\b": "history",
    r"\bway back\b": "abort path, rollback path",
    r"\b(take|takes|took|taken|taking) back\b": "abort, roll back",
    r"\bat work\b": "running, working on",
    r"\bnobody\b": "no client, no user, none",
    r"\bknows? nobody\b": "imports neither",
    r"\bvouch(es|ed)?\b": "verify",
    r"\bcarry (more|less|within)\b|\breplicas? carr(y|ies)\b": "sustain",
    r"\bgo(es)? on\b": "continue",
    r"\bby one rename\b.*\bappears\b|\bappears\b.*\bby one rename\b": "is renamed into place",
    r"(?<!there )\bis no (number|integer|list|file|JSON|text|claim|journal)\b": "is not a",
    r"\bwas not there\b": "did not exist",
    r"\b(does|did) not answer\b": "does not respond",
}
"""What was called so before, and what it is called now."""

PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("examples/**/*.md"),
]
PACKAGES = ("deployer", "gateway")


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Lines of a page without code, and of the changelog only those that are not released."""
    text = page.read_text()
    if page.name == "CHANGELOG.md":
        text = text.partition("\n## 0.1.0")[0]
    text = re.sub(r"```.*?```", lambda code: "\n" * code[0].count("\n"), text, flags=re.S)
    for number, line in enumerate(text.splitlines(), start=1):
        yield number, re.sub(r"`[^`]*`", "`…`", line)


def messages(module: Path) -> Iterator[tuple[int, str]]:
    """Texts of a module of more than one word: help, messages and progress. Docstrings are for readers of the code."""
    tree = ast.parse(module.read_text())
    read = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in read | parts:
            yield node.lineno, node.value


def replaced(lines: Iterator[tuple[int, str]]) -> list[str]:
    """Each replaced word in these lines, with its number, and the word to use."""
    return [
        f"{number}: {found[0]!r} in {line.strip()[:100]!r}; say: {instead}"
        for number, line in lines
        if " " in line.strip()
        for pattern, instead in REPLACED.items()
        if (found := re.search(pattern, line, re.I))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_uses_the_words_of_the_field(page: Path) -> None:
    assert replaced(prose(page)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_messages_use_the_words_of_the_field(package: str) -> None:
    found = {
        str(module.relative_to(ROOT)): said
        for module in sorted((ROOT / package).rglob("*.py"))
        if (said := replaced(messages(module)))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "no answer within 3 s",
        "publish it into the claim",
        "Nobody can be asked here",
        "what two replicas carry",
        "`x` is no number",
        "the rollout was taken back",
    ],
)
def test_a_replaced_word_is_found(line: str) -> None:
    assert replaced(iter([(1, line)]))


@pytest.mark.parametrize(
    "line",
    [
        "claim with the models to which a token gives access",
        "there is no Service named so",
        "Pods carry a label",
        "a PersistentVolumeClaim of 10Gi",
        "errors: wrong answer",
    ],
)
def test_a_right_word_is_left_alone(line: str) -> None:
    assert replaced(iter([(1, line)])) == []

"""Quantities as Kubernetes writes them."""

from __future__ import annotations

import pytest

from deployer.domain import quantity


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2Gi", 2**31), ("512M", 512 * 10**6), ("1.5Gi", 3 * 2**29), ("2147483648", 2**31), ("2e9", 2 * 10**9),
        ("1E3", 1000), ("1Pi", 2**50), ("2E", 2 * 10**18), ("1Ei", 2**60),
    ],
)  # fmt: skip
def test_memory(text: str, size: int) -> None:
    assert quantity.memory(text) == size


@pytest.mark.parametrize("text", ["", "0", "much", "2 Gi", "-1Gi", "2gi", "1e", "1e999"])
def test_what_is_no_memory(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount of memory"):
        quantity.memory(text)


def test_cpus() -> None:
    assert [quantity.cpus(text) for text in ("2", "0.5", "500m")] == [2.0, 0.5, 0.5]
    assert quantity.whole_cpus("1500m") == 2

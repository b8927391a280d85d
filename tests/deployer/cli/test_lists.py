"""Lists of numbers as options."""

from __future__ import annotations

import pytest

from deployer.cli.options.lists import numbers, whole
from deployer.errors import UsageError


def test_blanks_and_empty_parts_are_passed_over() -> None:
    assert numbers("--rates", "1, 2.5,,") == (1.0, 2.5)
    assert whole("--protect", f"4, {2**62 + 1}") == (4, 2**62 + 1)
    assert whole("--replicas", "") == ()


@pytest.mark.parametrize("text", ["1,b", "1.5", "inf", "nan"])
def test_what_is_not_whole_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=f"--protect '{text}' is not a list of versions") as raised:
        whole("--protect", text, example="3,4", what="versions")
    assert raised.value.hint == "write --protect 3,4"


def test_a_unit_may_follow_each_number_and_stands_nowhere_else() -> None:
    assert numbers("--steps", "5%, 25,50 %", unit="%") == (5, 25, 50)
    with pytest.raises(UsageError, match="--steps '5%0' is not a list of percentages"):
        numbers("--steps", "5%0", unit="%", what="percentages")

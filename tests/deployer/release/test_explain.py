"""`deployer explain` has every key of deployer.yaml, as its reference page has it."""

from __future__ import annotations

import re

import pytest
from type_keys import leaves

from deployer.errors import UsageError
from deployer.release import spec
from deployer.release.explain import explain


def test_every_key_of_deployer_yaml_is_explained() -> None:
    explained = {re.sub(r"<\w+>", "<>", key.key): key for key in explain()}
    assert sorted(leaves(spec._Document).keys() - explained.keys()) == []
    assert all(key.default and key.meaning for key in explained.values())


def test_a_key_brings_the_keys_below_it() -> None:
    assert {key.key for key in explain("storage")} == {
        "storage", "storage.size", "storage.storage_class", "storage.access_modes",
    }  # fmt: skip
    (only,) = explain("gateway.limits.timeout_ms")
    assert (only.default, only.meaning) == ("10000", "bound on a request")


def test_brackets_of_a_list_need_not_be_written() -> None:
    assert [key.key for key in explain("models.signature")] == ["models[].signature"]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("gateway.limit", "did you mean gateway.limits"),
        ("cpu_percent", "autoscaling.cpu_percent or gateway.autoscaling.cpu_percent"),
        ("nonsense", "`deployer explain` lists every key"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, hint: str) -> None:
    with pytest.raises(UsageError) as told:
        explain(key)
    assert hint in told.value.hint

"""The size that settings will have in a ConfigMap is told without writing them as YAML."""

from __future__ import annotations

import pytest
import yaml

from deployer.errors import SpecError
from deployer.release.render.size import check_size, yaml_bytes
from deployer.targets.cluster.live_config import as_helm_writes
from deployer.targets.cluster.objects import CONFIG_MAP_BYTES

SPEC = {
    "features": [{"name": "item", "vocabulary": [f"item-{n}" for n in range(500)], "min": 0.5}],
    "input": {"a": [1]},
}


def test_it_is_never_more_than_what_is_written_and_close_to_it() -> None:
    settings = {"models": {"reco": {"labels": {"stable": 1}, "specs": {"1": SPEC, "2": SPEC}}}, "limits": {}}
    written = len(as_helm_writes(yaml.safe_dump(settings)).encode())
    assert 0.95 * written < yaml_bytes(settings) <= written


def test_settings_that_fit_pass_and_others_name_the_largest_spec() -> None:
    check_size({"models": {"reco": {"specs": {"1": SPEC}}}})
    large = {"models": {"a": {"specs": {"1": SPEC}}, "b": {"specs": {"7": {"words": ["x" * CONFIG_MAP_BYTES]}}}}}
    with pytest.raises(SpecError) as refused:
        check_size(large)
    assert "b version 7, 1.0 MiB" in refused.value.cause

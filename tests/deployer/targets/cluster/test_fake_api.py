"""The API server in memory keeps what the deployer relies on, as k8s-tests/cluster/test_api.py says of a real one."""

from __future__ import annotations

import pytest
from api_contract import Contract
from fake_api import FakeApi

from deployer.targets.cluster.api import ApiServer


@pytest.fixture
def api() -> ApiServer:
    return FakeApi().server()


@pytest.fixture
def maps() -> str:
    return "/api/v1/namespaces/ns/configmaps"


class TestFakeApi(Contract):
    """In memory."""

"""A real API server keeps what the one in memory promises to the tests that need no cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from api_contract import Contract

from deployer.targets.cluster.api import ApiServer, connect


@pytest.fixture(scope="module")
def namespace(new_namespace: Callable[[str], str]) -> str:
    return new_namespace("api")


@pytest.fixture
def api(cluster: Any, namespace: str) -> ApiServer:
    return connect(cluster.place(namespace))


@pytest.fixture
def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


class TestApi(Contract):
    """In the cluster."""

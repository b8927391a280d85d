"""How a version is model_path for over REST, and how what a gateway says of itself is read."""

from __future__ import annotations

import pytest
from partial_target import PartialTarget

from deployer.errors import TargetError
from deployer.targets.base import HttpReply
from deployer.targets.rest import ModelPath, routes


class Gateway(PartialTarget):
    """Answers every GET with one body."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        assert path == "/routes"
        return HttpReply(status=200, body=self.body)


@pytest.mark.parametrize(
    ("model_path", "path", "text"),
    [
        (ModelPath(model="a b"), "/v1/models/a%20b", "a b"),
        (ModelPath(model="m", label="stable"), "/v1/models/m/labels/stable", "m label stable"),
        (ModelPath(model="m", version=3), "/v1/models/m/versions/3", "m version 3"),
    ],
)
def test_a_version_has_a_path_and_a_name(model_path: ModelPath, path: str, text: str) -> None:
    assert (model_path.path, model_path.metadata_path, model_path.predict_path) == (
        path,
        f"{path}/metadata",
        f"{path}:predict",
    )
    assert str(model_path) == text


def test_routes_are_read_as_far_as_they_are_needed() -> None:
    found = routes(
        Gateway(b'{"config": {"hash": "h"}, "backends": [{"address": "a:1", "state": "up"}], "more": 1}'), "g"
    )
    assert (found.config.hash, found.config.error, found.backends[0].address) == ("h", None, "a:1")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"config": {}}'])
def test_what_is_not_a_description_of_routes_is_an_error_of_the_target(body: bytes) -> None:
    with pytest.raises(TargetError, match="g does not serve /routes yet") as raised:
        routes(Gateway(body), "g")
    assert raised.value.cause.startswith("its /routes cannot be decoded: ")

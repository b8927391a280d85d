"""An API server of Kubernetes in memory. `api_contract` holds it, and a real one on a kind cluster, to the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployer.targets.cluster.api import ApiServer

Object = dict[str, Any]
"""An object of Kubernetes as JSON."""


_COLLECTION = re.compile("/namespaces/[^/]+/[^/]+$|/storageclasses$")


@dataclass
class Answer:
    status: int
    data: bytes


class FakeApi:
    """What a pool of connections to an API server would answer: objects by path, versions, conflicts."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.version = 0

    def server(self) -> ApiServer:
        """The client that deployers have of it."""
        return ApiServer("https://api", self, lambda: "")  # type: ignore[arg-type]  # all that it uses of a pool

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **rest: object,
    ) -> Answer:
        path, _, _ = url.removeprefix("https://api").partition("?")
        content: Object = json.loads(body) if body else {}
        if method == "POST":
            foreign = content.get("involvedObject", {}).get("namespace", path.split("/")[-2]) != path.split("/")[-2]
            if foreign:  # an Event tells of an object in its own namespace
                return self._refusal(422, "Invalid")
            path = f"{path}/{content['metadata']['name']}"
            if path in self.objects:
                return self._refusal(409, "AlreadyExists")
            return self._put(path, content)
        known = self.objects.get(path)
        applied = method == "PATCH" and "apply-patch" in (headers or {})["Content-Type"]
        if known is None and method == "GET" and _COLLECTION.search(path):
            items = [self.objects[one] for one in sorted(self.objects) if one.rpartition("/")[0] == path]
            return Answer(200, json.dumps({"metadata": {}, "items": items}).encode())
        if known is None and not applied:
            return self._refusal(404, "NotFound")
        asked = content.get("metadata", {}).get("resourceVersion")
        if asked is not None and (known is None or asked != known["metadata"]["resourceVersion"]):
            return self._refusal(409, "Conflict")
        if method == "GET":
            return Answer(200, json.dumps(known).encode())
        return self._put(path, _merged(known or {}, content))

    def _put(self, path: str, content: Object) -> Answer:
        self.version += 1
        self.objects[path] = _merged(content, {"metadata": {"resourceVersion": str(self.version)}})
        return Answer(200, json.dumps(self.objects[path]).encode())

    def _refusal(self, code: int, reason: str) -> Answer:
        status = {"kind": "Status", "code": code, "reason": reason, "message": reason}
        return Answer(code, json.dumps(status).encode())


def _merged(one: Object, change: Object) -> Object:
    result = dict(one)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result

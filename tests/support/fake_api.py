"""An API server of Kubernetes in memory, held to what a real one does by the tests on a kind cluster."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass
class Answer:
    status: int
    data: bytes


class FakeApi:
    """What a pool of connections to an API server would answer: objects by path, versions, conflicts."""

    def __init__(self) -> None:
        self.objects: dict[str, dict] = {}
        self.version = 0

    def request(self, method, url, *, body=None, headers=None, **_) -> Answer:
        path, _, _ = url.removeprefix("https://api").partition("?")
        content = json.loads(body) if body else {}
        if method == "POST":
            path = f"{path}/{content['metadata']['name']}"
            if path in self.objects:
                return self._refusal(409, "AlreadyExists")
            return self._put(path, content)
        known = self.objects.get(path)
        asked = content.get("metadata", {}).get("resourceVersion")
        if asked is not None and (known is None or asked != known["metadata"]["resourceVersion"]):
            return self._refusal(409, "Conflict")
        if method == "PATCH" and "apply-patch" in headers["Content-Type"]:
            return self._put(path, _merged(known or {}, content))
        if known is None:
            return self._refusal(404, "NotFound")
        if method == "GET":
            return Answer(200, json.dumps(known).encode())
        return self._put(path, _merged(known, content))

    def _put(self, path: str, content: dict) -> Answer:
        self.version += 1
        self.objects[path] = _merged(content, {"metadata": {"resourceVersion": str(self.version)}})
        return Answer(200, json.dumps(self.objects[path]).encode())

    def _refusal(self, code: int, reason: str) -> Answer:
        status = {"kind": "Status", "code": code, "reason": reason, "message": reason}
        return Answer(code, json.dumps(status).encode())


def _merged(one: dict, change: dict) -> dict:
    result = dict(one)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result

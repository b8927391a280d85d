"""A server's client: requests of both protocols, one after another or many at once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc

from replay import rest, rpc
from replay.cases import DEFAULT_LIMIT, Answer, Json
from replay.steps import Burst, GrpcRequest, RestRequest, Volley
from replay.workspace import Workspace

Request = RestRequest | GrpcRequest


def one_of(http: RestRequest | None, call: GrpcRequest | None) -> Request:
    """The request of a step that has either. Raises ValueError if it has none."""
    request = http or call
    if request is None:
        raise ValueError("a step needs a request: rest or grpc")
    return request


class Client:
    """Knows the ports of a workspace. Its calls may be made from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None

    def close(self) -> None:
        """End the connection, so that the next call finds a new server."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._channel = None

    def ask(self, request: Request, limit: float = DEFAULT_LIMIT) -> Json:
        """The response to a request, without what differs between two runs."""
        if isinstance(request, RestRequest):
            return self._workspace.plain(rest.exchange(self._workspace.rest_port, request, limit))
        with self._lock:
            if self._channel is None:
                self._channel = rpc.channel(self._workspace.port)
            connection = self._channel
        return self._workspace.plain(rpc.call(connection, request, limit))

    def states(self, model: str) -> dict[str, str]:
        """The state of each version of a model, with ":" and a code where something failed."""
        answer = self.ask(RestRequest(path=f"/v1/models/{model}"))
        if not isinstance(answer, dict) or answer.get("status") != 200:
            return {"http": str(answer.get("status") if isinstance(answer, dict) else None)}
        content = answer.get("json")
        versions = content.get("model_version_status") if isinstance(content, dict) else None
        states: dict[str, str] = {}
        for entry in versions if isinstance(versions, list) else ():
            if isinstance(entry, dict) and isinstance(status := entry["status"], dict):
                code = status.get("error_code")
                states[str(entry["version"])] = f"{entry['state']}" + ("" if code == "OK" else f":{code}")
        return states

    def burst(self, step: Burst) -> Answer:
        """Many requests at once: of every label the different responses, or how many there were of each."""
        volleys = [volley for volley in step.groups for _ in range(volley.count)]

        def one(volley: Volley) -> str:
            time.sleep(volley.after)
            return _text(brief(self.ask(one_of(volley.rest, volley.grpc), step.limit), full=step.full))

        seen: dict[str, Counter[str]] = {}
        with ThreadPoolExecutor(len(volleys)) as threads:
            for volley, text in zip(volleys, threads.map(one, volleys), strict=True):
                seen.setdefault(volley.label, Counter())[text] += 1
        if step.report == "counts":
            return {
                label: [{"n": times, "answer": json.loads(text)} for text, times in sorted(texts.items())]
                for label, texts in seen.items()
            }
        return {label: [json.loads(text) for text in sorted(texts)] for label, texts in seen.items()}


class Repeated:
    """A request made again and again in a thread, until `stop`."""

    def __init__(self, client: Client, request: Request) -> None:
        self._client, self._request = client, request
        self._stopping = threading.Event()
        self._changes: list[str] = []
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def stop(self) -> Answer:
        """End it, and tell the responses in their order, equal neighbours once, and which of them are failures."""
        self._stopping.set()
        self._thread.join()
        changes: list[Json] = [json.loads(text) for text in self._changes]
        failures = [
            change
            for change in changes
            if not isinstance(change, dict) or change.get("code", change.get("status")) not in ("OK", 200)
        ]
        return {"changes": changes, "failures": failures}

    def _loop(self) -> None:
        while True:
            last = self._stopping.wait(0.01)  # what was seen last was asked for after the end was
            text = _text(brief(self._client.ask(self._request)))
            if self._changes[-1:] != [text]:
                self._changes.append(text)
            if last:
                return


def brief(answer: Json, *, full: bool = False) -> Json:
    """What many responses are told apart by: status or code, version, and what an error says."""
    match answer:
        case {"status": status, **rest_of} if "json" in rest_of and (status != 200 or full):
            content = rest_of["json"]
            return {"status": status, **(content if isinstance(content, dict) else {"json": content})}
        case {"status": status}:
            return {"status": status}
        case {"code": "OK", "response": dict(response)}:
            told: Answer = {"code": "OK"}
            match response:
                case {"model_spec": {"version": dict(version)}}:
                    told["version"] = version.get("value", 0)
            return told | ({"response": response} if full else {})
        case {"code": code, "message": message}:
            return {"code": code, "message": message}
        case _:
            return answer


def _text(answer: Json) -> str:
    return json.dumps(answer, sort_keys=True)

"""Messages about rollouts, as a webhook gets them over a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from eventually import eventually
from fake_api import FakeApi
from fake_release import FakeRelease
from fake_world import REQUEST, World

from deployer.domain.notify import Notify, Occasion
from deployer.domain.rollout import OnFail, Phase
from deployer.errors import SpecError
from deployer.release.where import Where
from deployer.rollout import notify
from deployer.rollout.notify import TargetEvents, Webhook, sender
from deployer.rollout.rollouts import Rollouts, rollouts_of
from deployer.targets.cluster.api import Place
from deployer.targets.cluster.helm_releases import HelmReleases
from deployer.targets.cluster.names import Names
from deployer.targets.cluster.target import ClusterTarget
from deployer.tools.helm import Helm

QUOTES = '{"title": {{ sentence | tojson }}, "state": "{{ event }}", "by": {{ who | tojson }}, "to": {{ to }}}'


class FakeChat:
    """A chat service that keeps what it gets, and returns `status`."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 200
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                chat.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(chat.status)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/secret"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def chat() -> Iterator[FakeChat]:
    chat = FakeChat()
    yield chat
    chat.close()


def told(world: World, settings: Notify) -> tuple[Rollouts, Webhook]:
    webhook = Webhook(settings, "shop", world.said.append)
    return replace(world.rollouts(), notify=webhook), webhook


def test_a_rollout_that_is_promoted_is_reported_from_start_to_end(tmp_path: Path, chat: FakeChat) -> None:
    rollouts, webhook = told(World(tmp_path), Notify(webhook=chat.url))
    assert rollouts.start(REQUEST).outcome == "promoted"
    webhook.close()
    texts = [one["text"] for one in chat.got]
    assert texts[0].startswith("shop: ")
    assert texts[0].endswith(" 1 → 2 started")
    assert sum(" judged at judge 5 %" in text for text in texts) == 1
    assert "error_rate<5%: pass" in next(text for text in texts if " judged at judge 5 %" in text)
    assert " promoted" in texts[-1]
    assert len([text for text in texts if " promoted" in text]) == 1


@pytest.mark.parametrize(("on_fail", "end"), [(OnFail.ABORT, "aborted"), (OnFail.PAUSE, "paused")])
def test_a_gate_that_fails_is_reported_with_its_figures(
    tmp_path: Path, chat: FakeChat, on_fail: OnFail, end: str
) -> None:
    rollouts, webhook = told(World(tmp_path, FakeRelease(3, canary_failures=0.5)), Notify(webhook=chat.url))
    rollouts.start(replace(REQUEST, on_fail=on_fail))
    webhook.close()
    texts = [one["text"] for one in chat.got]
    assert any("error_rate<5%: fail" in text for text in texts)
    assert f" {end}" in texts[-1]


def test_a_pause_by_hand_is_reported(tmp_path: Path, chat: FakeChat) -> None:
    world = World(tmp_path, FakeRelease(3, canary_failures=0.5))
    rollouts, webhook = told(world, Notify(webhook=chat.url, events=(Occasion.PAUSED,)))
    rollouts.start(replace(REQUEST, on_fail=OnFail.PAUSE))
    webhook.close()
    assert len(chat.got) == 1
    assert " paused" in chat.got[0]["text"]


def test_a_template_makes_the_body(tmp_path: Path, chat: FakeChat) -> None:
    settings = Notify(webhook=chat.url, template=QUOTES, events=(Occasion.PROMOTED,))
    rollouts, webhook = told(World(tmp_path), settings)
    rollouts.start(REQUEST)
    webhook.close()
    (only,) = chat.got
    assert (only["state"], only["to"], only["by"]) == ("promoted", 2, "ada (process 1)")
    assert only["title"].startswith("shop: ")


def test_a_webhook_that_fails_never_fails_a_rollout_and_its_url_is_not_shown(tmp_path: Path, chat: FakeChat) -> None:
    chat.status = 500
    world = World(tmp_path)
    rollouts, webhook = told(world, Notify(webhook=chat.url))
    assert rollouts.start(REQUEST).phase is Phase.HEALTHY
    webhook.close()
    assert "the webhook returned 500" in world.said
    assert not any("secret" in line for line in world.said)


def test_a_webhook_that_is_gone_is_a_line_of_progress(tmp_path: Path) -> None:
    world = World(tmp_path)
    rollouts, webhook = told(world, Notify(webhook="http://127.0.0.1:1/secret"))
    assert rollouts.start(REQUEST).phase is Phase.HEALTHY
    webhook.close()
    assert any(line.startswith("the webhook could not be reached") for line in world.said)
    assert not any("secret" in line for line in world.said)


def test_a_webhook_that_hangs_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT", 0.3)
    release = threading.Event()

    def hang(*_: object, **__: object) -> None:
        release.wait(60)
        raise requests.ConnectTimeout

    monkeypatch.setattr("requests.post", hang)
    world = World(tmp_path)
    rollouts, webhook = told(world, Notify(webhook="http://127.0.0.1:1/"))
    assert rollouts.start(REQUEST).phase is Phase.HEALTHY
    webhook.close()
    release.set()
    assert any("notices were not sent" in line for line in world.said)


def test_the_url_may_be_an_environment_variable(
    tmp_path: Path, chat: FakeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_URL", chat.url)
    rollouts, webhook = told(World(tmp_path), Notify(webhook="$CHAT_URL", events=(Occasion.STARTED,)))
    rollouts.start(REQUEST)
    webhook.close()
    assert len(chat.got) == 1
    monkeypatch.delenv("CHAT_URL")
    with pytest.raises(SpecError, match="environment variable is not set"):
        Webhook(Notify(webhook="$CHAT_URL"), "shop", print)


@pytest.mark.parametrize("template", ["{{ nothing }}", "{% if %}", "plain text", '{"text": {{ sentence }}}'])
def test_a_template_that_makes_no_json_is_refused_before_the_rollout(template: str) -> None:
    with pytest.raises(SpecError, match=r"notify\.template") as refused:
        Webhook(Notify(webhook="http://h", template=template), "shop", print)
    assert "sentence | tojson" in refused.value.hint


@pytest.mark.parametrize(
    "fields",
    [{"webhook": "slack"}, {"webhook": "http://h", "events": ()}, {}, {"kubernetes_events": True, "template": "{}"}],
)
def test_settings_that_could_never_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Notify(**fields)


def test_a_webhook_that_cannot_be_used_does_not_keep_anybody_from_an_abort(tmp_path: Path) -> None:
    described = "release: shop\nstore: models\nmodels: [scale]\nnotify: {webhook: $NOT_SET_ANYWHERE}\n"
    (tmp_path / "deployer.yaml").write_text(described)
    said: list[str] = []
    opened = rollouts_of(Where(file=tmp_path / "deployer.yaml"), "scale", said.append)
    assert opened.notify is notify.nobody
    assert said == ["no messages are sent: notify.webhook: its environment variable is not set"]


def test_kubernetes_events_are_about_the_deployment(tmp_path: Path) -> None:
    cluster, world = FakeApi(), World(tmp_path, FakeRelease(3, canary_failures=0.5))
    path = "/apis/apps/v1/namespaces/ns/deployments/shop-tf-serving"
    metadata = {"name": "shop-tf-serving", "namespace": "ns", "uid": "u-1"}
    cluster._put(path, {"metadata": metadata, "spec": {"replicas": 2}})
    names = Names(release="shop")
    target = ClusterTarget(names, Place(namespace="ns"), cluster.server(), HelmReleases(names, Helm(namespace="ns")))
    send = sender(Notify(kubernetes_events=True), "shop", target, world.said.append)
    replace(world.rollouts(), notify=send).start(replace(REQUEST, on_fail=OnFail.PAUSE))
    eventually(lambda: any(e.reason == "RolloutPaused" for e in target.events()), "the last Event")
    found = target.events()
    assert {event.reason: event.type for event in found} == {
        "RolloutStarted": "Normal",
        "RolloutJudged": "Normal",
        "RolloutPaused": "Warning",
    }
    assert {(e.involved_object.name, e.involved_object.uid) for e in found} == {("shop-tf-serving", "u-1")}
    paused = next(e.message for e in found if e.reason == "RolloutPaused")
    assert paused.startswith("shop: scale 1 → 2 paused at judge 5 %: ")


def test_events_that_cannot_be_created_are_a_line_of_progress(tmp_path: Path) -> None:
    world, names = World(tmp_path), Names(release="shop")
    api = FakeApi().server()  # the Deployment is not there
    target = ClusterTarget(names, Place(namespace="ns"), api, HelmReleases(names, Helm(namespace="ns")))
    events = TargetEvents(Notify(kubernetes_events=True), "shop", target, world.said.append)
    assert replace(world.rollouts(), notify=events).start(REQUEST).phase is Phase.HEALTHY
    events.close()
    assert any(line.startswith("no Event for promoted: there is no Deployment") for line in world.said)


def test_a_local_release_has_no_event_log_and_says_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    events = TargetEvents(Notify(kubernetes_events=True), "shop", world.release, world.said.append)
    assert replace(world.rollouts(), notify=events).start(REQUEST).phase is Phase.HEALTHY
    events.close()
    assert not any("Event" in line for line in world.said)


def test_a_webhook_and_events_both_get_every_notice(tmp_path: Path, chat: FakeChat) -> None:
    reported: list[str] = []

    class Logged(FakeRelease):
        def report(self, reason: str, message: str, *, warning: bool) -> None:
            reported.append(reason)

    world = World(tmp_path, Logged())
    send = sender(Notify(webhook=chat.url, kubernetes_events=True), "shop", world.release, world.said.append)
    replace(world.rollouts(), notify=send).start(REQUEST)
    eventually(lambda: "RolloutPromoted" in reported and " promoted" in chat.got[-1]["text"], "the last notice")
    assert len(reported) == len(chat.got)

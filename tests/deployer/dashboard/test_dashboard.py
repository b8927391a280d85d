"""The dashboard of a real local release in a real Chromium: a rollout is watched, paused and aborted on the page."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from browser import CHROMIUM, DRIVER, Browser
from eventually import eventually
from paths import ROOT

from deployer.dashboard.serve import served
from deployer.domain.rollout import RolloutRequest
from deployer.release import local
from deployer.release.render.render import Choice
from deployer.release.where import Where
from deployer.rollout.rollouts import rollouts_of
from deployer.targets.local.target import LocalTarget

needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")
DESCRIPTION = "release: shop\nstore: store\nmodels: [scale]\nserving: {replicas: 2, max_load_retries: 0}\n"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A release, and the URL of its dashboard."""

    where: Where
    target: LocalTarget
    folder: Path
    url: str

    @property
    def root(self) -> str:
        return "/".join(self.url.split("/")[:3])


@pytest.fixture(scope="module")
def shown(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("shop")
    shutil.copytree(small_store / "scale", folder / "store" / "scale")
    (folder / "deployer.yaml").write_text(DESCRIPTION)
    report = folder / "experiments" / "first" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<p>the report of an experiment</p>")
    (folder / "secret").write_text("not a report")
    request = local.UpRequest(file=folder / "deployer.yaml", choices={"scale": Choice(versions=(1,))})
    target = local.up(request, lambda _: None).target
    where = Where(file=folder / "deployer.yaml")
    try:
        with served(where, port=0, reports=folder / "experiments", read_only=False) as dashboard:
            yield Shown(where=where, target=target, folder=folder, url=dashboard.url)
    finally:
        target.down(progress=lambda _: None)


@needs_chromium
def test_a_rollout_moves_on_the_page_and_is_paused_and_aborted_there(shown: Shown, tmp_path: Path) -> None:
    pictures = Path(os.environ.get("DASHBOARD_PICTURES", tmp_path))
    rollouts = rollouts_of(shown.where, "scale", lambda _: None)
    wanted = RolloutRequest(to=2, shares=(50.0,), soak=120, gates=("error_rate<5%", "p50<5s"), timeout=60)
    ended = threading.Event()

    def work() -> None:
        rollouts.start(wanted)
        ended.set()

    at_work = threading.Thread(target=work)
    client = threading.Thread(target=_requests, args=(shown.target, ended), daemon=True)
    with Browser() as browser:
        browser.open(shown.url)
        eventually(lambda: browser.text("#phase") == "Healthy", lambda: browser.text("#phase"))
        assert "stable" in browser.text(".grid")
        assert "replica-1" in browser.text(".grid")
        eventually(lambda: "Nothing is wrong" in browser.text("#doctor"), lambda: browser.text("#doctor"))
        assert "first" in browser.text("#reports")
        at_work.start()
        client.start()
        eventually(lambda: "canary" in browser.text(".grid"), lambda: browser.text(".grid"))
        eventually(lambda: "judge 50 %" in browser.text(".steps .now"), lambda: browser.text(".steps"))
        eventually(lambda: "50 %" in browser.text("#models") and " ms" in browser.text("#models"), "live figures")
        for width in (330, 420, 520, 700, 860, 1000, 1200):
            browser.run(f"document.body.style.width = '{width}px'")
            sizes = browser.run(
                "const one = document.querySelector('.live'); return [one.scrollWidth, one.clientWidth]"
            )
            assert sizes[0] <= sizes[1], f"the live table is cut at {width} pixels"
        browser.run("document.body.style.width = ''")
        browser.screenshot(pictures / "light.png")
        _pressed(browser, "p", "Pause the rollout of scale to version 2?")
        assert not ended.is_set()
        browser.click("#no")
        _pressed(browser, "p", "Pause the rollout of scale to version 2?")
        browser.click("#yes")
        eventually(ended.is_set, "the deployer that runs the rollout has paused it")
        eventually(lambda: browser.text("#phase") == "Paused", lambda: browser.text("#phase"))
        assert rollouts.histories.read("scale").open is not None
        with Browser(dark=True, width=520) as narrow:
            narrow.open(shown.url)
            eventually(lambda: narrow.text("#phase") == "Paused", lambda: narrow.text("#phase"))
            shade = narrow.run("return getComputedStyle(document.body).backgroundColor")
            assert max(int(part) for part in shade.removeprefix("rgb(").rstrip(")").split(",")) < 100, shade
            assert narrow.run("return document.body.scrollWidth <= window.innerWidth"), "nothing sticks out"
            narrow.screenshot(pictures / "dark-narrow.png")
        _pressed(browser, "a", "Abort the rollout of scale to version 2?")
        browser.click("#yes")
        eventually(lambda: "aborted" in browser.text("#models"), lambda: browser.text("#models"))
        buttons = "return document.querySelectorAll('[data-act]').length"
        eventually(lambda: browser.run(buttons) == 0, "a rollout that has ended has no buttons")
        browser.click("summary")
        assert "judge 50 %" in browser.text("details table")
        assert [text for text in browser.complaints() if "[DOM]" not in text] == []
    at_work.join(30)
    client.join(30)


@needs_chromium
def test_a_replica_that_does_not_respond_is_a_tile(shown: Shown) -> None:
    victim = shown.target.replicas()[1]
    assert victim.pid is not None
    with Browser() as browser:
        browser.open(shown.url)
        eventually(lambda: victim.name in browser.text(".grid"), "the replica is there")
        os.kill(victim.pid, signal.SIGKILL)
        eventually(lambda: "has ended" in browser.text(".grid") or "respond" in browser.text(".grid"),
                   lambda: browser.text(".grid"))  # fmt: skip
        assert "stable" in browser.text(".grid"), "the others are still shown"


def test_only_the_page_itself_gets_in(shown: Shown) -> None:
    token = shown.url.split("/")[3]
    ours = {"x-dashboard-token": token}
    act = {"model": "scale", "action": "abort"}
    assert requests.get(shown.root + "/", timeout=30).status_code == 403
    assert requests.get(shown.root + "/guessed/events", timeout=30).status_code == 403
    assert requests.get(shown.url, headers={"host": "evil.example.com"}, timeout=30).status_code == 421
    assert requests.post(shown.url + "act", json=act, timeout=30).status_code == 403
    assert requests.post(shown.url + "act", json=act, headers={"x-dashboard-token": "x"}, timeout=30).status_code == 403
    foreign = {**ours, "sec-fetch-site": "cross-site"}
    assert requests.post(shown.url + "act", json=act, headers=foreign, timeout=30).status_code == 403
    assert requests.post(shown.url + "act", data="{", headers=ours, timeout=30).status_code == 400
    odd = {"model": "scale", "action": "expired"}
    assert requests.post(shown.url + "act", json=odd, headers=ours, timeout=30).status_code == 400
    assert requests.get(shown.url + "act", headers=ours, timeout=30).status_code == 404
    report = requests.get(shown.url + "reports/first/report.html", timeout=30)
    assert (report.status_code, report.headers["content-security-policy"]) == (200, "sandbox")
    assert requests.get(shown.url + "reports/..%2Fsecret", timeout=30).status_code == 404


def test_the_page_is_one_file_that_asks_no_other_host(shown: Shown) -> None:
    page = requests.get(shown.url, timeout=30)
    assert "default-src 'none'" in page.text
    assert page.headers["x-frame-options"] == "DENY"
    assert page.text.count("://") == 1, "only the namespace of SVG"


def test_read_only_has_no_action_and_ctrl_c_ends_it(shown: Shown) -> None:
    command = [sys.executable, "-m", "deployer.cli", "dashboard", "--read-only", "-o", "json"]
    command += ["-f", str(shown.folder / "deployer.yaml")]
    command[2:3] = ["deployer.cli.__main__"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = ""
    while '"url"' not in text or not text.rstrip().endswith("}\n}".strip()):
        text += process.stdout.readline()
        if text.endswith("\n}\n"):
            break
    url = json.loads(text)["result"]["url"]
    headers = {"x-dashboard-token": url.split("/")[3]}
    refused = requests.post(url + "act", json={"model": "scale", "action": "abort"}, headers=headers, timeout=30)
    assert refused.status_code == 403
    with requests.get(url + "events", stream=True, timeout=30) as stream:
        assert next(stream.iter_lines()).startswith((b"event: ", b": "))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def _pressed(browser: Browser, key: str, question: str) -> None:
    """Press the key until the page asks: it has no such button while it does not know the state of the rollout."""

    def asks() -> bool:
        if question in browser.text("#question"):
            return True
        browser.press(key)
        return question in browser.text("#question")

    eventually(asks, "it asks first")


def _requests(target: LocalTarget, ended: threading.Event) -> None:
    url = target.gateways()[0].url + "/v1/models/scale:predict"
    with requests.Session() as session, suppress(requests.ConnectionError):  # the release may go first
        while not ended.wait(0.02):
            session.post(url, json={"records": [{"a": 1, "b": 2}]}, timeout=30)

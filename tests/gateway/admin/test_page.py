"""The page of the admin port in a real Chromium: what it shows, and a record that is tried by keyboard alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from browser import CHROMIUM, DRIVER, ENTER, Browser
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config

ODD = "z <img src=x onerror=alert(1)>"
KEY = "shop-0f1e2d3c4b5a"
LOAN: dict[str, Any] = {
    "features": [
        {"name": "income", "type": "float", "required": True, "min": 0, "normalize": {"mean": 0, "std": 1}},
        {"name": "purpose", "type": "category", "vocabulary": ["car", "<b>"], "encoding": "index", "unknown": "car"},
    ],
    "input": {"name": "x", "dtype": "float32", "shape": [-1, 2]},
    "output": {"name": "y", "kind": "binary", "labels": ["deny", "approve"], "activation": "sigmoid"},
}  # fmt: skip

needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    server = FakeModelServer()
    routing = {"weights": {"stable": 90, "canary": 10}}
    models = {
        "loan": {"labels": {"stable": 1, "canary": 2}, "routing": routing, "specs": {"1": LOAN, "2": LOAN}},
        ODD: {},
    }
    content = config(server.address, models=models, public_docs=True)
    gateway = GatewayProcess(tmp_path_factory.mktemp("loans"), content, "--drain-seconds", "0")
    yield gateway
    assert gateway.stop() == 0
    server.stop()


@needs_chromium
def test_the_page_shows_what_runs_and_tries_a_record_by_keyboard(loans: GatewayProcess, tmp_path: Path) -> None:
    with Browser() as browser:
        browser.open(loans.admin + "/")
        eventually(lambda: "ready, config" in browser.text("#state"), lambda: browser.text("#state"))
        eventually(lambda: "90 %" in browser.text("#models"), lambda: browser.text("#models"))
        assert ODD in browser.text("#models"), "names are text and nothing else"
        assert loans.told("/routes").json()["backends"][0]["address"] in browser.text("#backends")
        eventually(lambda: "/v1/models/loan:predict" in browser.text("#api"), lambda: browser.text("#api"))
        browser.type("#f-income", "3")
        assert '"income":3' in browser.text("#curl")
        assert f":{loans.url.rpartition(':')[2]}/v1/models/loan:predict" in browser.text("#curl")
        browser.press(ENTER)
        eventually(lambda: "approve" in browser.text("#answer"), lambda: browser.text("#answer"))
        assert "answered by version" in browser.text("#answer")
        browser.run("document.querySelector('#label').value = 'canary'; "
                    "document.querySelector('#label').dispatchEvent(new Event('change'))")  # fmt: skip
        eventually(lambda: "/labels/canary:predict" in browser.text("#curl"), lambda: browser.text("#curl"))
        browser.type("#f-income", "-5")
        browser.run("document.querySelector('#form').noValidate = true")
        browser.click("#send")
        eventually(lambda: "income:" in browser.text("#answer"), lambda: browser.text("#answer"))
        eventually(lambda: _rate(browser) > 0, "the requests appear among the live figures")
        assert [text for text in browser.complaints() if "400" not in text and "[DOM]" not in text] == []
        browser.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def _rate(browser: Browser) -> float:
    requests.post(browser.run("return document.querySelector('#curl').textContent").split()[2], data="{}", timeout=30)
    text = browser.text("#tiles b")
    return float(text) if text[:1].isdigit() else 0.0


@needs_chromium
def test_dark_mode_and_the_public_copy_of_the_page(loans: GatewayProcess) -> None:
    with Browser(dark=True) as browser:
        browser.open(loans.url + "/docs")
        eventually(lambda: browser.run("return document.querySelectorAll('#model option').length") == 2, "the models")
        shade = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert max(int(part) for part in shade.removeprefix("rgb(").rstrip(")").split(",")) < 100, shade
        browser.type("#f-income", "3")
        browser.click("#send")
        eventually(lambda: "approve" in browser.text("#answer"), lambda: browser.text("#answer"))
        assert browser.run("return document.querySelector('#live').hidden") is True


def test_the_page_is_one_file_that_asks_nobody_else(loans: GatewayProcess) -> None:
    page = loans.told("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.text
    assert "://" not in page.text.replace('location.protocol + "//"', "")
    assert page.text == loans.get("/docs").text


def test_a_try_is_let_in_as_on_the_public_port_and_from_no_other_site(tmp_path: Path) -> None:
    server = FakeModelServer()
    key = {"name": "shop", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump({"keys": [key]}))
    content = config(server.address, auth={"keys_file": "keys.yaml"})
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    url, body = gateway.admin + "/try/v1/models/m:predict", {"records": [{"a": 1, "b": 2}]}
    assert requests.post(url, json=body, timeout=30).status_code == 401
    answer = requests.post(url, json=body, headers={"x-api-key": KEY}, timeout=30)
    assert (answer.status_code, answer.json()["predictions"]) == (200, [{"value": 30.0}])
    blind = requests.post(url, data=json.dumps(body), headers={"content-type": "text/plain"}, timeout=30)
    assert blind.status_code == 415, "what a page of another site could send without asking"
    assert requests.options(url, headers={"origin": "https://evil.example.com"}, timeout=30).status_code == 405
    large = requests.post(url, data=b"x" * 2_000_000, headers={"content-type": "application/json"}, timeout=30)
    assert large.status_code == 413
    assert requests.post(gateway.admin + "/try/metrics", json=body, timeout=30).status_code == 404
    assert gateway.stop() == 0
    server.stop()

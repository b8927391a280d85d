"""A real Chromium without a window, driven over WebDriver (W3C) as its chromedriver has it."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
from eventually import eventually

from deployer.tools import ports

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's identifier, from the recommendation."""
ENTER = "\ue007"


class Browser(AbstractContextManager["Browser"]):
    """One window. `dark` is the colour scheme that pages are told."""

    def __init__(self, *, dark: bool = False, width: int = 1200, height: int = 1400) -> None:
        (port,) = ports.free(1)
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._url = f"http://127.0.0.1:{port}"
        self._http = requests.Session()
        self._http.trust_env = False
        eventually(self._up, "chromedriver listens")
        flags = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
            f"--window-size={width},{height}", f"--user-data-dir={self._folder.name}",
            *(["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []),
        ]  # fmt: skip
        wanted = {"goog:chromeOptions": {"binary": CHROMIUM, "args": flags}, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/session/{session['sessionId']}"
        self._ask("POST", "/timeouts", {"implicit": 30_000})  # an element may come a little later

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.delete(self._url, timeout=30)
        self._http.close()
        self._process.terminate()
        self._process.wait(20)
        self._folder.cleanup()

    def open(self, url: str) -> None:
        self._ask("POST", "/url", {"url": url})

    def text(self, selector: str) -> str:
        """The text that the first such element shows. A page that redraws replaces elements at any time."""
        while True:
            try:
                return str(self._ask("GET", f"/element/{self._find(selector)}/text"))
            except AssertionError as error:
                if "stale element" not in str(error):
                    raise

    def type(self, selector: str, keys: str) -> None:
        """Replace what a field has."""
        element = self._find(selector)
        self._ask("POST", f"/element/{element}/clear", {})
        self._ask("POST", f"/element/{element}/value", {"text": keys})

    def click(self, selector: str) -> None:
        self._ask("POST", f"/element/{self._find(selector)}/click", {})

    def run(self, script: str) -> Any:
        """What a function body returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def press(self, keys: str) -> None:
        """Keys for whatever has the focus."""
        actions = [
            action for key in keys for action in ({"type": "keyDown", "value": key}, {"type": "keyUp", "value": key})
        ]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def complaints(self) -> list[str]:
        """What the console of the browser says since the last call."""
        return [str(entry["message"]) for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def _find(self, selector: str) -> str:
        return str(self._ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT])

    def _up(self) -> bool:
        try:
            return self._http.get(f"{self._url}/status", timeout=30).ok
        except requests.ConnectionError:
            return False

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self._http.request(method, self._url + path, json=body, timeout=60).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"{path}: {answer['message']}")
        return answer

"""One server's folder and ports, and their placeholders in requests and responses."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from replay.cases import Json

_NODE = re.compile(r"\{\{(\w+) [^}]*\}\}")
_DEBUG_LINK = re.compile(r"goo\.gle/debug\w+\s*")
_ADDRESS = re.compile(r"(127\.0\.0\.1|localhost|0\.0\.0\.0|\[::1?\]):\d+")
_TEMPORARY = re.compile(re.escape(tempfile.gettempdir()) + r"/[\w./-]+")


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@dataclass(kw_only=True)
class Workspace:
    """`work` is for what a case writes; the ports change with every start."""

    work: Path
    models: Path
    port: int = 0
    rest_port: int = 0

    @classmethod
    def make(cls, models: Path) -> Workspace:
        """An empty folder of its own."""
        return cls(work=Path(tempfile.mkdtemp(prefix="conformance-")), models=models)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.work, ignore_errors=True)

    def take_ports(self) -> None:
        """Choose two ports that nobody listens on."""
        self.port, self.rest_port = _free_ports()

    def fill(self, content: Json) -> Json:
        """Put paths and ports where the placeholders {work}, {models}, {port}, {rest_port} stand."""
        match content:
            case str():
                for name in ("work", "models", "port", "rest_port"):
                    content = content.replace(f"{{{name}}}", str(getattr(self, name)))
                return content
            case list():
                return [self.fill(item) for item in content]
            case dict():
                return {key: self.fill(value) for key, value in content.items()}
            case _:
                return content

    def plain(self, answer: Json) -> Json:
        """The same without what differs between two runs: paths, ports, names of graph nodes, links."""
        match answer:
            case str():
                return self._plain(answer)
            case list():
                return [self.plain(item) for item in answer]
            case dict():
                return {self._plain(key): self.plain(value) for key, value in answer.items()}
            case _:
                return answer

    def _plain(self, text: str) -> str:
        text = text.replace(str(self.work), "<work>").replace(str(self.models), "<models>")
        text = _NODE.sub(r"{{\1 *}}", text)
        text = _DEBUG_LINK.sub("", text)
        text = _ADDRESS.sub(r"\1:<port>", text)
        return _TEMPORARY.sub("<path>", text)

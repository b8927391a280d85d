"""Serves the dashboard on loopback until it is interrupted."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.dashboard.actions import Actions
from deployer.dashboard.app import App
from deployer.dashboard.board import Board
from deployer.dashboard.watcher import Watcher
from deployer.errors import UsageError
from deployer.release.where import Where, open_target

LOOPBACK = "127.0.0.1"
SERVER_CLOSE_SECONDS = 2


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A dashboard that is served at `url`, which has the token."""

    url: str
    actions: Actions


@contextmanager
def served(where: Where, *, port: int, reports: Path, read_only: bool) -> Iterator[Dashboard]:
    """Serve while the context is open. `port` 0 is any free one; `reports` is a folder with experiments.

    Errors: as for `open_target`; UsageError when the port is taken.
    """
    import uvicorn  # optional: the help of the verb does without

    open_target(where)  # what is wrong with the file or the context is said here, and not on the page
    listener = _listener(port)
    address = f"{LOOPBACK}:{listener.getsockname()[1]}"
    board, token = Board(), secrets.token_urlsafe(24)
    watcher = Watcher(where=where, board=board, reports=reports, read_only=read_only)
    actions = Actions(where=where, board=board)
    names = frozenset([address.encode(), address.replace(LOOPBACK, "localhost").encode()])
    app = App(token=token, hosts=names, board=board, watcher=watcher, actions=actions, read_only=read_only)
    server = uvicorn.Server(
        uvicorn.Config(
            app, lifespan="off", ws="none", access_log=False, log_config=None, proxy_headers=False,
            server_header=False, timeout_graceful_shutdown=SERVER_CLOSE_SECONDS,
        )
    )  # fmt: skip
    # Not in the main thread: there uvicorn would take the signals, which the verb handles.
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]), name="dashboard server", daemon=True)
    watcher.start()
    thread.start()
    try:
        yield Dashboard(url=f"http://{address}/{token}/", actions=actions)
    finally:
        board.close()
        server.should_exit = True
        watcher.close()
        thread.join(SERVER_CLOSE_SECONDS + 5)
        listener.close()


def serve(
    where: Where,
    *,
    port: int,
    reports: Path,
    read_only: bool,
    announce: Callable[[str], None],
    say: Callable[[str], None],
) -> None:
    """Serve until interrupted; `announce` gets the URL. An action that runs is finished first. Errors: as `served`."""
    with served(where, port=port, reports=reports, read_only=read_only) as dashboard:
        announce(dashboard.url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            if dashboard.actions.running:
                say("waiting for the action that runs; Ctrl-C again leaves it, and `deployer rollout resume` continues")
                dashboard.actions.wait()


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise UsageError(f"port {port} is not free", hint="choose another one with --port") from error
    listener.listen()
    return listener

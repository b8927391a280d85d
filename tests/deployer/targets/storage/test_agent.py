"""Strangers, slow uploads and links on the volume, as the storage agent meets them: real sockets, real files."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from storage_process import TOKEN, Agent, running, start

from deployer.errors import ExportError
from deployer.targets.storage import manifest
from deployer.targets.storage.disk import copy_tree

STAGING = "loan/.staging-1-0123456789abcdef"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with running(tmp_path / "store") as found:
        yield found


def request(method: str, path: str, *, token: str, length: int) -> bytes:
    """The head of a request."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: a\r\nx-storage-token: {token}\r\nContent-Length: {length}\r\n\r\n".encode()
    )


def test_a_stranger_is_sent_away_before_the_body_is_sent(agent: Agent) -> None:
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as stranger:
        stranger.sendall(request("PUT", f"/content?path={STAGING}/f", token="wrong", length=2**40))
        response = b""
        while chunk := stranger.recv(4096):
            response += chunk
    assert response.startswith(b"HTTP/1.1 403 ")
    assert not (agent.root / "loan").exists()


def test_strangers_do_not_keep_an_agent_alive(tmp_path: Path) -> None:
    with start(tmp_path, idle=2) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
                stranger.sendall(request("GET", "/list?path=", token="wrong", length=0))
                stranger.recv(4096)
            time.sleep(0.2)
        assert process.poll() == 0, "it ends although somebody asks all the time"


def test_an_upload_that_moves_is_not_cut_by_the_idle_time(tmp_path: Path) -> None:
    with start(tmp_path, idle=1) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=30) as upload:
            upload.sendall(request("PUT", f"/content?path={STAGING}/f&offset=0", token=TOKEN, length=8))
            for _ in range(8):
                time.sleep(0.5)
                upload.sendall(b"x")
            assert upload.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert process.wait(30) == 0
    assert (tmp_path / STAGING / "f").read_bytes() == b"x" * 8


def test_a_body_that_ends_early_is_not_written(agent: Agent) -> None:
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as upload:
        upload.sendall(request("PUT", f"/content?path={STAGING}/f&offset=0", token=TOKEN, length=8) + b"abc")
        upload.shutdown(socket.SHUT_WR)
        assert upload.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert not (agent.root / STAGING / "f").exists()


def test_no_link_on_the_volume_is_followed(agent: Agent, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "1").mkdir(parents=True)
    (outside / "1" / "secret").write_text("s")
    (agent.root / "loan").symlink_to(outside)
    (agent.root / "file").symlink_to(outside / "1" / "secret")
    storage = agent.storage()

    listed = storage.entries()
    assert listed is not None
    assert {(entry.name, entry.directory) for entry in listed} == {("file", False), ("loan", False)}
    for method, path in (
        ("GET", "/list?path=loan"),
        ("GET", "/content?path=loan/1/secret"),
        ("GET", "/content?path=file"),
        ("GET", "/digest?path=file"),
        ("POST", f"/stage?path={STAGING}"),
        ("PUT", f"/content?path={STAGING}/f"),
        ("POST", "/remove?path=loan/1"),
        ("POST", f"/discard?path={STAGING}"),
    ):
        reply = agent.send(method, path, b"", headers={"x-storage-token": TOKEN}, timeout=10)
        assert (reply.status, b"symbolic link" in reply.body) == (400, True), path
    assert {p.relative_to(outside).as_posix() for p in outside.rglob("*")} == {"1", "1/secret"}


def test_a_version_with_a_link_is_removed_and_what_it_points_to_stays(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("k")
    version = agent.root / "loan" / "3"
    (version / "variables").mkdir(parents=True)
    (version / "variables" / "link").symlink_to(tmp_path / "outside")

    reply = agent.send("POST", "/remove?path=loan/3", b"", headers={"x-storage-token": TOKEN}, timeout=10)

    assert reply.status == 200
    assert not list((agent.root / "loan").iterdir())
    assert (tmp_path / "outside" / "kept").exists()


def test_a_staging_directory_with_a_link_is_not_published(agent: Agent, tmp_path: Path) -> None:
    (agent.root / STAGING).mkdir(parents=True)
    (agent.root / STAGING / "link").symlink_to(tmp_path)
    path = f"/publish?path={STAGING}&version=1"
    reply = agent.send("POST", path, b"", headers={"x-storage-token": TOKEN}, timeout=10)
    assert (reply.status, agent.visible()) == (400, set())


@pytest.mark.parametrize("place", ["file", "folder", "chain"])
def test_a_link_out_of_a_saved_model_is_not_exported(tmp_path: Path, place: str) -> None:
    source, target, outside = tmp_path / "model", tmp_path / "copy", tmp_path / "home"
    for folder in (source / "assets", target, outside):
        folder.mkdir(parents=True)
    (outside / "id_key").write_text("secret")
    if place == "chain":
        (source / "assets" / "b").symlink_to("a")
        (source / "assets" / "a").symlink_to(outside / "id_key")
    else:
        (source / "assets" / "b").symlink_to(outside / "id_key" if place == "file" else outside)

    with pytest.raises(ExportError, match="outside of") as refused:
        copy_tree(source, target)
    assert "cp -rL" in refused.value.hint
    assert not list(target.iterdir())
    with pytest.raises(ExportError, match="outside of"):
        manifest.measure(source)


def test_links_that_stay_inside_become_files(tmp_path: Path) -> None:
    source, target = tmp_path / "model", tmp_path / "copy"
    for folder in (source / "blobs", source / "assets", target):
        folder.mkdir(parents=True)
    (source / "blobs" / "1").write_text("words")
    (source / "assets" / "vocabulary").symlink_to("../blobs/1")
    copy_tree(source, target)
    assert (target / "assets" / "vocabulary").read_text() == "words"
    assert not (target / "assets" / "vocabulary").is_symlink()


@pytest.mark.parametrize(("to", "words"), [("gone", "a link to nothing"), ("..", "a directory around itself")])
def test_a_link_to_nothing_or_around_itself_is_named(tmp_path: Path, to: str, words: str) -> None:
    (tmp_path / "model" / "assets").mkdir(parents=True)
    (tmp_path / "model" / "assets" / "link").symlink_to(to)
    with pytest.raises(ExportError, match=words):
        copy_tree(tmp_path / "model", tmp_path)

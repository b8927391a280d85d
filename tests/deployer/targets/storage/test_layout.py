"""Publishing into a store: atomic, immutable, cleaned up after the dead, safe beside running exports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT, SUPPORT

from deployer.errors import ExportError
from deployer.targets.storage import disk, manifest
from deployer.targets.storage.layout import ModelStore, models

FILES = {"saved_model.pb": "graph", "variables/variables.index": "i", "variables/variables.data": "d" * 1000}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def publish(store: ModelStore, version: int | None = None) -> Path:
    with store.stage(version) as staging:
        tree(staging.path, FILES)
        return store.publish(staging)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(root=tmp_path / "store", model="m")


def test_versions_count_up_from_one(store: ModelStore) -> None:
    assert store.versions() == ()
    assert publish(store) == store.base / "1"
    publish(store, 7)
    assert publish(store) == store.base / "8"
    assert store.versions() == (1, 7, 8)
    assert {p.name for p in store.base.iterdir()} == {"1", "7", "8"}


def test_nothing_is_visible_before_publish_and_nothing_stays_after_a_failure(store: ModelStore) -> None:
    def fail() -> None:
        with store.stage(None) as staging:
            tree(staging.path, FILES)
            assert store.versions() == ()
            raise RuntimeError("no disk")

    with pytest.raises(RuntimeError, match="no disk"):
        fail()
    assert not store.base.exists()


@pytest.mark.parametrize("there", ["3", "003", "+3", " 3"])
def test_a_number_that_a_server_would_see_is_taken(store: ModelStore, there: str) -> None:
    (store.base / there).mkdir(parents=True)
    with (
        pytest.raises(ExportError, match="version 3 of model m already exists") as refused,
        store.stage(3),
    ):
        pass
    assert "version 4" in refused.value.hint
    assert store.path(3).name == there


@pytest.mark.parametrize("ignored", ["v3", "3.0", "0x3", "1_0", "99999999999999999999", ".staging-3-x"])
def test_names_that_a_server_ignores_are_not_versions(store: ModelStore, ignored: str) -> None:
    (store.base / ignored).mkdir(parents=True)
    assert store.versions() == ()


def test_a_version_that_appears_during_the_export_is_not_replaced(store: ModelStore) -> None:
    with store.stage(1) as staging:
        tree(store.base / "1", {"saved_model.pb": "theirs"})
        tree(staging.path, FILES)
        with pytest.raises(ExportError, match="already exists"):
            store.publish(staging)
    assert (store.base / "1/saved_model.pb").read_text() == "theirs"
    assert {p.name for p in store.base.iterdir()} == {"1"}


def test_version_zero_is_refused(store: ModelStore) -> None:
    with pytest.raises(ExportError, match="version 0 is not allowed"), store.stage(0):
        pass


def test_model_names_that_would_leave_the_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'\.\./m' is not a valid model name"):
        ModelStore(root=tmp_path, model="../m")


def test_the_same_number_is_refused_while_somebody_exports_it(store: ModelStore) -> None:
    with store.stage(5) as first:
        with pytest.raises(ExportError, match="version 5 of model m is being exported by another"), store.stage(5):
            pass
        with store.stage(None) as second:
            assert second.version == 6
        assert first.path.is_dir()


def test_many_exporters_at_once_get_different_numbers(store: ModelStore) -> None:
    published: list[Path] = []
    threads = [threading.Thread(target=lambda: published.append(publish(store))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in published) == [str(n) for n in range(1, 9)]
    assert store.versions() == tuple(range(1, 9))


def test_kill_9_between_any_two_files_leaves_nothing_that_a_server_sees(tmp_path: Path, store: ModelStore) -> None:
    source = tree(tmp_path / "model", FILES)
    argv = [sys.executable, str(SUPPORT / "killed_exporters.py"), str(source), str(store.root)]
    root = ROOT
    out = subprocess.run(argv, capture_output=True, check=True, timeout=60, cwd=root, env={"PYTHONPATH": str(root)})
    *deaths, after_rename, completed = json.loads(out.stdout)
    steps = [d["step"] for d in [*deaths, after_rename]]
    assert steps[:3] == ["copy saved_model.pb", "copy variables/variables.data", "copy variables/variables.index"]
    assert {"write the manifest", "sync variables/variables.data", f"sync {manifest.MANIFEST}"} <= set(steps)
    assert steps[-2:] == ["rename to 1", "sync m"]
    for death in deaths:
        assert death["killed"]
        assert len(death["entries"]) == 1, f"the one before {death['step']} was not cleaned up"
        assert death["entries"][0].startswith(".staging-1-")
    assert after_rename["entries"] == ["1"]
    assert completed == {"step": "", "killed": False, "entries": ["1", "2"]}
    for version in (1, 2):
        known = manifest.read(store.path(version))
        assert manifest.verify(store.path(version), known) == ()
        assert {path: fact.size for path, fact in known.files.items()} == {p: len(text) for p, text in FILES.items()}


def test_what_another_host_left_is_cleaned_after_a_day(store: ModelStore) -> None:
    left = store.base / f".staging-1-{'0' * 16}"
    left.mkdir(parents=True)
    born = left.stat().st_mtime
    assert store.clean(now=born + 3600) == ()
    assert publish(store).name == "2"
    assert publish(store, 1).name == "1"
    assert store.clean(now=born + 25 * 3600) == (left,)
    assert not left.exists()


def test_remove_takes_one_version_and_never_the_base(store: ModelStore) -> None:
    publish(store)
    store.remove(1)
    assert store.versions() == ()
    assert list(store.base.iterdir()) == []
    with pytest.raises(ExportError, match="no version 1"):
        store.remove(1)


def test_half_removed_versions_are_cleaned(store: ModelStore) -> None:
    publish(store)
    (store.base / "1").rename(store.base / f".removed-1-{store.host}00000000")
    assert publish(store).name == "1"
    assert {p.name for p in store.base.iterdir()} == {"1"}


def test_an_unreadable_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="file cannot be read"):
        models(tmp_path / "file")
    with (
        pytest.raises(ExportError, match="cannot be created"),
        ModelStore(root=tmp_path / "file", model="m").stage(None),
    ):
        pass


def test_models_are_directories_with_a_models_name(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "README").touch()
    assert models(tmp_path) == ("a", "b")


def test_links_are_published_as_files(tmp_path: Path) -> None:
    source = tree(tmp_path / "source", {"saved_model.pb": "g", "blobs/data": "x"})
    (source / "variables").mkdir()
    os.symlink(source / "blobs/data", source / "variables/variables.data")
    (tmp_path / "copy").mkdir()
    disk.copy_tree(source, tmp_path / "copy")
    assert not (tmp_path / "copy/variables/variables.data").is_symlink()
    assert (tmp_path / "copy/variables/variables.data").read_text() == "x"


@pytest.fixture
def private_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("private_umask")
def test_a_version_exported_under_a_private_umask_can_be_read_by_model_servers(store: ModelStore) -> None:
    version = publish(store)
    found = [store.root, store.base, version, *version.rglob("*")]
    assert len(found) == 7
    for path in found:
        mode = path.stat().st_mode & 0o777
        assert mode == (0o755 if path.is_dir() else 0o644), f"{path} has {mode:o}"


@pytest.mark.usefixtures("private_umask")
def test_a_directory_that_was_there_keeps_its_mode(store: ModelStore) -> None:
    store.root.mkdir()
    publish(store)
    assert store.root.stat().st_mode & 0o777 == 0o700

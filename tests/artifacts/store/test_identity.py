"""Every store has an identity of its own, however it is opened."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from artifacts.errors import CorruptFile
from artifacts.store.identity import STORE_FILE, identity_of
from artifacts.store.store import Store
from tests.artifacts.store.store_building import Opener, publish


def test_identity_is_the_same_by_every_path_and_survives_publications(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "releases"), tmp_path / "cache")
    identity = identity_of(store.folder)
    publish(store, "a")
    monkeypatch.chdir(tmp_path)
    assert identity_of(Store("releases", tmp_path / "cache").folder) == identity


def test_stores_of_the_same_path_on_two_machines_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identities = set()
    for machine in ("production", "staging"):
        (tmp_path / machine).mkdir()
        monkeypatch.chdir(tmp_path / machine)
        identities.add(identity_of(Store("artifacts/releases", tmp_path / "cache").folder))
    assert len(identities) == 2


def test_store_that_was_published_to_before_gets_an_identity(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "releases"), tmp_path / "cache")
    version = publish(store, "a")
    assert STORE_FILE not in store.folder.names()
    assert identity_of(store.folder) == identity_of(store.folder)
    assert store.current() == version
    store.verify()


def test_processes_that_ask_first_at_the_same_time_get_one_identity(open_remote: Opener, tmp_path: Path) -> None:
    for stores in (
        [Store(str(tmp_path / "releases"), tmp_path / "cache") for _ in range(8)],
        [open_remote(str(number)) for number in range(8)],
    ):
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(identity_of, [store.folder for store in stores]))) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"id": 7}', b'{"id": "../x"}'])
def test_damaged_identity_is_an_error(tmp_path: Path, content: bytes) -> None:
    store = Store(str(tmp_path / "releases"), tmp_path / "cache")
    store.folder.write_bytes(STORE_FILE, content)
    with pytest.raises(CorruptFile, match=STORE_FILE):
        identity_of(store.folder)
    (tmp_path / "releases" / STORE_FILE).unlink()
    assert identity_of(store.folder)

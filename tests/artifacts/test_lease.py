"""The lease of a store: others wait while it is held, and no longer than its holder lives."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from artifacts import lease
from artifacts.lease import STALE_SECONDS, Lease
from artifacts.storage import Folder
from tests.waiting import wait_until

LEASE_FILE = "work.lease"


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}")
    yield folder
    folder.remove("")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.01)


def test_lease_is_free_before_and_after_it_is_held(folder: Folder) -> None:
    assert Lease(folder, LEASE_FILE).wait_until_free(0)
    with Lease(folder, LEASE_FILE).held():
        assert not Lease(folder, LEASE_FILE).wait_until_free(0)
    assert Lease(folder, LEASE_FILE).wait_until_free(0)
    assert folder.names() == []


def test_lease_is_given_back_after_an_error(folder: Folder) -> None:
    with pytest.raises(ValueError, match="failed"), Lease(folder, LEASE_FILE).held():
        raise ValueError("failed")
    assert Lease(folder, LEASE_FILE).wait_until_free(0)


def test_one_process_holds_the_lease_at_a_time(folder: Folder) -> None:
    inside, seen = [0], []

    def hold() -> None:
        with Lease(folder, LEASE_FILE).held():
            inside[0] += 1
            seen.append(inside[0])
            inside[0] -= 1

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 8


def test_lease_of_a_process_that_died_ends(folder: Folder) -> None:
    renewed = datetime.now(UTC) - timedelta(seconds=STALE_SECONDS + 1)
    folder.write_text(LEASE_FILE, f"{renewed.isoformat()} gone\n")
    assert Lease(folder, LEASE_FILE).wait_until_free(0)
    with Lease(folder, LEASE_FILE).held():
        assert not Lease(folder, LEASE_FILE).wait_until_free(0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe holder", id="not-text"),
        pytest.param(b"yesterday holder\n", id="no-time"),
        pytest.param(f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%S+00:00} ahead\n".encode(), id="ahead"),
    ],
)
def test_lease_that_is_damaged_or_of_another_day_is_free(folder: Folder, content: bytes) -> None:
    """The clock of a holder that died may have been ahead."""
    folder.write_bytes(LEASE_FILE, content)
    assert Lease(folder, LEASE_FILE).wait_until_free(0)
    with Lease(folder, LEASE_FILE).held() as held:
        assert held
        assert not Lease(folder, LEASE_FILE).wait_until_free(0)


def test_holder_renews_its_lease(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_RENEW_SECONDS", 0.01)
    with Lease(folder, LEASE_FILE).held():
        first = folder.read_text(LEASE_FILE)
        wait_until(lambda: folder.read_text(LEASE_FILE) != first)
        assert not Lease(folder, LEASE_FILE).wait_until_free(0)


def test_holder_that_was_taken_for_dead_leaves_the_lease_to_the_next(folder: Folder) -> None:
    other = f"{datetime.now(UTC).isoformat()} other\n"
    with Lease(folder, LEASE_FILE).held():
        folder.write_text(LEASE_FILE, other)
    assert folder.read_text(LEASE_FILE) == other


def test_lease_that_is_not_given_back_is_passed_over(folder: Folder) -> None:
    with Lease(folder, LEASE_FILE).held(), Lease(folder, LEASE_FILE).held(0.05) as held:
        assert not held
        assert len(folder.names()) == 1


def test_holder_renews_its_lease_after_an_error_of_the_store(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_RENEW_SECONDS", 0.01)
    write_bytes, failures = Folder.write_bytes, [OSError("unreachable")] * 3

    def fail_at_first(self: Folder, name: str, content: bytes) -> None:
        if failures:
            raise failures.pop()
        write_bytes(self, name, content)

    monkeypatch.setattr(Folder, "write_bytes", fail_at_first)
    with Lease(folder, LEASE_FILE).held():
        first = folder.read_text(LEASE_FILE)
        wait_until(lambda: folder.read_text(LEASE_FILE) != first)
    assert not failures

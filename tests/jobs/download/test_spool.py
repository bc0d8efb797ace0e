"""The spool: results wait by position, in memory up to a limit and beyond it on disk."""

from __future__ import annotations

import pytest

from artifacts.schema import OK, Reason
from jobs.download import spool as spool_module
from jobs.download.fetch import Fetched
from jobs.download.spool import Spool


@pytest.fixture(autouse=True)
def _small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SPOOL_BYTES", 100)


def test_results_are_returned_whole_from_memory_and_disk() -> None:
    pictures = {position: Fetched(OK, jpeg=bytes([position]) * 40) for position in range(10)}
    with Spool() as spool:
        for position, fetched in pictures.items():
            spool.put([position], fetched)
        spool.put([10], Fetched(Reason.TIMEOUT, "late"))
        assert (spool.memory_bytes, spool.disk_bytes) == (80, 320)
        assert {position: spool.pop(position) for position in pictures} == pictures
        assert spool.pop(10) == Fetched(Reason.TIMEOUT, "late")


def test_result_of_several_rows_is_kept_until_the_last_one() -> None:
    shared = Fetched(OK, jpeg=b"shared")
    with Spool() as spool:
        spool.put([0, 1], shared)
        assert spool.pop(0) == shared
        assert spool.memory_bytes == len(b"shared")
        assert spool.pop(1) == shared
        assert spool.memory_bytes == 0


def test_pop_returns_none_for_a_position_without_a_result() -> None:
    with Spool() as spool:
        spool.put([0], Fetched(OK, jpeg=b"picture"))
        spool.pop(0)
        assert spool.pop(0) is None
        assert spool.pop(1) is None


def test_space_in_memory_and_on_disk_is_reused() -> None:
    with Spool() as spool:
        for _ in range(3):
            for position in range(10):
                spool.put([position], Fetched(OK, jpeg=b"x" * 40))
            spool.put([10, 11], Fetched(OK, jpeg=b"shared"))
            assert spool.disk_bytes == 8 * 40
            for position in range(12):
                spool.pop(position)
            assert (spool.memory_bytes, spool.disk_bytes) == (0, 0)

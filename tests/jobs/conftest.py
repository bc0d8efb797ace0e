"""Fixtures of several steps' tests."""

from __future__ import annotations

from pathlib import Path

import faiss
import pytest

from tests.shop import Shop, day


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A published shop of 36 products, to be copied and never changed."""
    return Shop(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def published_with_times(published: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The same shop, every product updated on 2026-11-05."""
    shop = Shop(tmp_path_factory.mktemp("timed"), copy_of=published)
    shop.edit(lambda rows: [row.update(updated_at=day(5)) for row in rows.values()])
    shop.build()
    return shop


@pytest.fixture
def shop(published: Shop, tmp_path: Path) -> Shop:
    """A published shop of 36 products, of the test's own."""
    return Shop(tmp_path, copy_of=published)


@pytest.fixture
def timed_shop(published_with_times: Shop, tmp_path: Path) -> Shop:
    """A published shop of 36 products that were updated on 2026-11-05, of the test's own."""
    return Shop(tmp_path, copy_of=published_with_times)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's report is empty: its plots take half of a refresh's time. FAISS has one thread: on a busy machine,
    waiting for a second one takes longer than searching a small shop."""
    monkeypatch.setattr("jobs.evaluate.report.render_report", lambda *_: "")
    faiss.omp_set_num_threads(1)

"""The step that loads an engine: a real client of Pinecone, and a fake index."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from artifacts.engines.pinecone import PineconeEngine
from jobs.load.step import run_load
from tests.pinecone_fake import PineconeFake
from tests.pipeline import prepared, run_index, small_settings, write_small_catalog


@pytest.fixture
def fake() -> Iterator[PineconeFake]:
    fake = PineconeFake(8, "s3cret")
    yield fake
    fake.stop()


def test_second_load_of_a_segment_waits_for_the_first_and_writes_nothing(
    fake: PineconeFake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small_settings(tmp_path, engine="pinecone", engine_url=fake.url, engine_key="s3cret")
    context = prepared(write_small_catalog(tmp_path / "shop"), settings)
    run_index(context)
    second_has_looked = threading.Event()
    second: list[Future[Any]] = []
    is_complete = PineconeEngine.is_complete

    def looking(engine: PineconeEngine, collection: Any) -> bool:
        complete = is_complete(engine, collection)
        if second:
            assert not complete
            second_has_looked.set()
        return complete

    with ThreadPoolExecutor() as threads:

        def in_the_middle(done: int, total: int) -> None:
            """Start the second load while the first one has found nothing, and has written nothing."""
            if not second:
                second.append(threads.submit(run_load, context))
                assert second_has_looked.wait(60)
                monkeypatch.undo()

        monkeypatch.setattr(PineconeEngine, "is_complete", looking)
        first = run_load(replace(context, progress=in_the_middle))
        notes = [first.note, second[0].result(60).note]
    assert notes == ["36 rows in pinecone"] * 2
    assert len(fake.bodies) == 1
    assert list(Path(settings.releases).glob("*.lease")) == []

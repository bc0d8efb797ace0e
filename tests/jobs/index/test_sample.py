"""The sample that an index is trained on: nothing but vectors that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.errors import StepFailed
from jobs.index.sample import draw_sample
from jobs.workspace.records import write_record
from jobs.workspace.shards import ShardReport, report_name
from tests.jobs.index.shards import DIM, draw_shard


def test_shard_with_fewer_vectors_than_its_report_says_is_refused(tmp_path: Path) -> None:
    shard = draw_shard(300, seed=1)
    embeddings = shard.write(tmp_path).embeddings("drawn")
    good = sum(vector is not None for vector in shard.vectors.values())

    def draw(ok: int) -> int:
        report = ShardReport("embed", 0, 1, "", rows=len(shard.vectors), ok=ok)
        write_record(embeddings.folder, report_name(0), report)
        return len(draw_sample(embeddings, DIM, 10_000, 0, tmp_path / f"sample-{ok}"))

    assert draw(good) == good
    with pytest.raises(
        StepFailed, match=f"has {good} vectors, fewer than its report says: remove it, and run the embed"
    ):
        draw(good + 1)

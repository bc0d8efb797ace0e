"""What the report says of the index: codec, memory, parts, and how even its lists are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from artifacts.config import IndexConfig
from artifacts.errors import InputError
from artifacts.index.choosing import choose, resident
from artifacts.release.release import Release
from artifacts.segments.info import SegmentInfo, part_name
from jobs.evaluate.results import IndexFacts


def index_facts(release: Release, config: IndexConfig, *, count_lists: bool) -> IndexFacts:
    """Return the facts about the index of a release's base.

    Args:
        config: how indexes are built now; explains the index if it would be chosen again.
        count_lists: whether the rows of each IVF list are counted, which reads a number of every row.
    """
    base, info = release.base, release.base.info
    row_bytes, resident_bytes = 0.0, 0  # where an engine has the index
    if info.engine is None:
        row_bytes, resident_bytes = resident(info.index.codec, info.rows, info.dim, info.index.lists)
    facts = IndexFacts(
        codec=info.index.codec,
        factory=info.index.factory,
        rows=info.rows,
        dim=info.dim,
        lists=info.index.lists,
        train_rows=info.index.train_rows,
        row_bytes=row_bytes,
        resident_bytes=resident_bytes,
        part_rows=info.part_rows,
        part_bytes=_part_bytes(info),
        delta_rows=0 if release.delta is None else release.delta.info.rows,
        drift=release.drift,
        reasons=_reasons(info, config),
    )
    if not count_lists or base.lists is None:
        return facts
    sizes = base.lists.sizes(info.index.lists)
    return replace(
        facts,
        largest_list=int(sizes.max()),
        empty_lists=int((sizes == 0).sum()),
        imbalance=round(imbalance(sizes), 3),
    )


def imbalance(sizes: np.ndarray) -> float:
    """Return FAISS's imbalance factor of list sizes int64[lists]: lists · Σ n² ÷ (Σ n)².

    A search that probes lists by chance, more of the larger ones, scores so many times as many rows as in even lists.
    """
    sizes = sizes.astype(np.float64)
    return float(len(sizes) * (sizes**2).sum() / max(1.0, sizes.sum()) ** 2)


def _part_bytes(info: SegmentInfo) -> list[int]:
    """Return the size on disk of each part; of a segment without parts, that of all its files."""
    if not info.parts:
        return [sum(file.bytes for file in info.files.values())]
    parts = [f"{part_name(number)}/" for number in range(len(info.parts))]
    return [sum(file.bytes for path, file in info.files.items() if path.startswith(part)) for part in parts]


def _reasons(info: SegmentInfo, config: IndexConfig) -> list[str]:
    """Return why the index is what it is; nothing if these settings would choose another one."""
    if info.engine is not None:
        where = "this server" if info.engine.vectors == "server" else "the engine"
        return [f"{info.engine.kind} finds the candidates, and {where} scores them."]
    try:
        choice = choose(info.rows, info.dim, config)
    except InputError:
        return []
    return list(choice.reasons) if (choice.codec, choice.factory) == (info.index.codec, info.index.factory) else []

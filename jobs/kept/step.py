"""Keeps what refreshes leave in a workspace within bounds: many small ones become one, and old ones are removed.

A merge is copied from its parts, and they are removed when it is whole; so a process that is killed has lost nothing.
The next one goes on with the same merge, or begins another one if there are newer parts; the one that was not completed
is a part itself when it has been silent for a day. One process merges and removes at a time.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import pyarrow as pa

from artifacts.lease import Lease
from artifacts.schema import OK
from jobs.embed.cache import find_vectors, write_vectors
from jobs.kept.images import ImagesFile, Marks, images_files, write_merged
from jobs.parquet import read_parquet
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.refreshes import NEWEST, is_idle, remove_refresh, remove_refreshes_before
from jobs.workspace.shards import ShardCounts
from jobs.workspace.workspace import Workspace

#: Refreshes, without the newest ones, from which on they are merged.
MANY = 64
#: Bytes of pictures from which a refresh is left as it is: copying it costs more than opening it.
SMALL_BYTES = 256_000_000
#: Pictures of one shard of a merge.
_ROWS_PER_SHARD = 10_000
#: The lease of a workspace's refreshes: one process merges and removes them at a time.
_LEASE = "kept.lease"
#: What the name of a merge ends with.
_MERGED = "-merged"

_log = logging.getLogger(__name__)


def tidy_refreshes(main: Workspace, before: datetime) -> None:
    """Remove old refreshes of a workspace, and merge small ones if there are many.

    Refreshes that have not ended are left alone, and so are the newest ones.

    Args:
        before: those that began before this time are removed.
    """
    with Lease(main.folder, _LEASE).held(0) as held:
        if not held:
            return  # another process does it
        remove_refreshes_before(main, before)
        try:
            for files in _groups(main):
                _merge(main, files)
        except FileNotFoundError as error:  # a build removes old refreshes, too
            _log.info("a refresh was removed while it was merged: %s", error)


def _groups(main: Workspace) -> list[list[ImagesFile]]:
    """Return the files to merge, group by group; those of the oldest refresh first.

    A group is of one day, so that no picture is kept for more than a day longer than it would be otherwise; and its
    files have the same marks.
    """
    names = main.refresh_names()[:-NEWEST]
    if sum(not name.endswith(_MERGED) for name in names) < MANY:
        return []
    days = Counter(map(_day, names))
    groups: defaultdict[tuple[str, Marks], list[list[ImagesFile]]] = defaultdict(list)
    for name in names:
        refresh = main.find_refresh(name) if days[_day(name)] > 1 else None
        if refresh is None or not is_idle(refresh) or _picture_bytes(refresh) >= SMALL_BYTES:
            continue
        files = images_files(refresh)
        marks = {file.marks for file in files}
        if len(marks) == 1:
            groups[_day(name), marks.pop()].append(files)
    return [[file for files in group for file in files] for group in groups.values() if len(group) > 1]


def _day(name: str) -> str:
    return name[:8]  # the form of a name's beginning is REFRESH_TIME


def _picture_bytes(refresh: Workspace) -> int:
    folder = refresh.images.folder
    return int(folder.fs.du(folder.root))


def _merge(main: Workspace, files: Sequence[ImagesFile]) -> None:
    """Replace the refreshes of several files by one that has what they have."""
    parts = list({file.refresh.name: file.refresh for file in files}.values())
    shards = min(main.shards, max(1, -(-sum(file.rows for file in files) // _ROWS_PER_SHARD)))
    inputs = fingerprint("merge", [(file.refresh.name, file.shard, file.rows) for file in files], files[0].marks)
    began = parts[-1].name.partition("-")[0]  # it is as old as the newest of them
    target = main.refresh(f"{began}-{inputs[:16]}{_MERGED}", shards)
    for shard in range(shards):
        target.images.run(shard, inputs, partial(write_merged, files, shard, shards))
        _merge_vectors(target, shard, parts[::-1], inputs)
    target.mark(ended=True)
    for part in parts:  # the oldest first: a reader that misses one, and goes on to older ones, does not find those
        if is_idle(part):
            remove_refresh(part)


def _merge_vectors(target: Workspace, shard: int, sources: Sequence[Workspace], inputs: str) -> None:
    """Write the vectors of a shard's pictures, by every encoder."""
    with target.images.open(shard) as stream:
        keys = set(read_parquet(stream, columns=["sha256"])["sha256"].drop_null().to_pylist())
    for slug in sorted({slug for source in sources for slug in source.folder.names("embeddings")}):
        vectors = find_vectors([source.embeddings(slug) for source in sources], keys)
        if vectors is not None:
            target.embeddings(slug).run(shard, inputs, partial(_write_vectors, vectors))


def _write_vectors(vectors: pa.Table, path: Path) -> ShardCounts:
    write_vectors(vectors, path)
    statuses = Counter(vectors["status"].to_pylist())
    return ShardCounts(
        statuses.total(), statuses[OK], {status: count for status, count in statuses.items() if status != OK}
    )

"""The pictures that refreshes have downloaded into workspaces of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from artifacts.errors import CorruptFile
from artifacts.schema import shard_of
from jobs.download.images_file import EarlierImages
from jobs.workspace.shards import shard_name
from jobs.workspace.workspace import Workspace


def open_refreshed(workspace: Workspace, products: Sequence[str]) -> Iterator[EarlierImages]:
    """Open the images shards in which refreshes may hold pictures of some products, those of the newest refresh first.

    Damaged files are left out. A file is closed when the next one is asked for.

    Args:
        products: sorted ids.
    """
    if not products:
        return
    for refresh in reversed(workspace.refreshes()):
        for shard in sorted({shard_of(product, refresh.shards) for product in products}):
            if not refresh.images.exists(shard):
                continue
            try:
                images = EarlierImages(refresh.images.folder, shard_name(shard), products)
            except CorruptFile:
                continue
            with closing(images):
                yield images

"""Reads what a refresh has downloaded and embedded, by product and picture, and what the release had before."""

from __future__ import annotations

from types import TracebackType

import numpy as np
import pyarrow.parquet as pq

from artifacts.encoders.identity import EncoderIdentity
from artifacts.pictures import thumbnail
from artifacts.release.release import Release
from artifacts.schema import OK, TRANSIENT_REASONS, Reason
from jobs.parquet import read_parquet
from jobs.refresh.changed import ChangedPicture
from jobs.workspace.workspace import Workspace


class ObtainedShard:
    """One shard of a refresh's workspace; closed by `with`. Pictures are best asked for in the order of the shard.

    Args:
        workspace: of the refresh, downloaded and embedded; a workspace that had nothing to fetch has no files.
        identity: the encoder's.
    """

    def __init__(self, workspace: Workspace, shard: int, identity: EncoderIdentity) -> None:
        self._index: dict[tuple[str, int], int] = {}
        self._vectors = np.empty((0, identity.dim), np.float16)
        self._file: pq.ParquetFile | None = None
        if not workspace.images.exists(shard):
            return
        self._stream = workspace.images.open(shard)
        self._file = pq.ParquetFile(self._stream)
        columns = self._file.read(["product_id", "picture", "status", "detail", "sha256"]).to_pydict()
        self._index = {key: row for row, key in enumerate(zip(columns["product_id"], columns["picture"], strict=True))}
        self._status, self._detail, self._sha256 = columns["status"], columns["detail"], columns["sha256"]
        self._first_rows = np.cumsum(
            [0, *(self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups))]
        )
        self._group: tuple[int, list[bytes | None]] = (-1, [])
        with workspace.embeddings(identity.slug).open(shard) as file:
            embeddings = read_parquet(file)
        values = embeddings["vector"].combine_chunks().values.to_numpy(zero_copy_only=False)
        self._vectors = values.reshape(-1, identity.dim).astype(np.float16, copy=False)
        usable = zip(embeddings["sha256"].to_pylist(), embeddings["status"].to_pylist(), strict=True)
        self._vector_row = {key: row for row, (key, status) in enumerate(usable) if status == OK}

    def __enter__(self) -> ObtainedShard:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._stream.close()

    def resolve(self, product_id: str, picture: ChangedPicture) -> str:
        """Set the status and digest of a picture that was fetched; returns what went wrong, as a sentence.

        A picture that was fetched again stays as it was if that failed for a reason that may pass.
        """
        row = self._index[product_id, picture.number]
        picture.status, detail = self._status[row], self._detail[row] or ""
        if picture.status in TRANSIENT_REASONS and picture.earlier is not None:
            picture.take(picture.earlier)
        if picture.status != OK:
            return detail
        if picture.row >= 0:
            return ""
        if self._sha256[row] not in self._vector_row:
            picture.status = Reason.BAD_EMBEDDING.value
            return "the encoder returned no usable vector for the picture"
        picture.sha256 = bytes.fromhex(self._sha256[row])[:16]
        return ""

    def vector(self, product_id: str, picture: ChangedPicture) -> np.ndarray:
        """Return the vector of a picture that was fetched, float16[dim]."""
        return self._vectors[self._vector_row[self._sha256[self._index[product_id, picture.number]]]]

    def jpeg(self, product_id: str, picture: ChangedPicture) -> bytes:
        """Return the stored JPEG of a picture that was fetched."""
        row = self._index[product_id, picture.number]
        group = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        assert self._file is not None  # noqa: S101  (the index has the row)
        if self._group[0] != group:
            self._group = group, self._file.read_row_group(group, ["jpeg"])["jpeg"].to_pylist()
        return self._group[1][row - int(self._first_rows[group])] or b""


class PictureContents:
    """The vectors and thumbnails of changed products' pictures: those that the release has, and the obtained ones.

    Args:
        release: open.
        obtained: the shard of the products; None if the release has all of their pictures.
        thumbnail_side: longest side in px.
    """

    def __init__(self, release: Release, obtained: ObtainedShard | None, thumbnail_side: int) -> None:
        self._release, self._obtained, self._thumbnail_side = release, obtained, thumbnail_side

    def vector(self, product_id: str, picture: ChangedPicture) -> np.ndarray:
        """Return the vector of a picture, float16[dim]."""
        if picture.row >= 0:
            return self._release.searcher.vectors.gather(np.array([self._row(picture)]))[0]
        assert self._obtained is not None  # noqa: S101  (a picture without a row was obtained)
        return self._obtained.vector(product_id, picture)

    def thumbnail(self, product_id: str, picture: ChangedPicture) -> bytes | None:
        """Return the thumbnail of a picture, JPEG; None where the release has none."""
        if picture.row >= 0:
            return self._release.thumbnail(self._row(picture))
        assert self._obtained is not None  # noqa: S101  (see above)
        return thumbnail(self._obtained.jpeg(product_id, picture), side=self._thumbnail_side)

    def keep_earlier(self, product_id: str, picture: ChangedPicture) -> None:
        """Let a picture that was fetched again be the one that the release has, if it is the same with its vector."""
        earlier = picture.earlier
        if picture.status != OK or picture.row >= 0 or earlier is None or earlier["sha256"] != picture.sha256:
            return
        row = earlier["row"] + (self._release.base.info.rows if earlier["in_delta"] else 0)
        stored = self._release.searcher.vectors.gather(np.array([row]))[0]
        if np.array_equal(stored, self.vector(product_id, picture)):
            picture.take(earlier)

    def _row(self, picture: ChangedPicture) -> int:
        return picture.row + (self._release.base.info.rows if picture.in_delta else 0)

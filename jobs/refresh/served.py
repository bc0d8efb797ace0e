"""The served release as a refresh sees it: its segments on this machine, and its state of the catalog."""

from __future__ import annotations

# ruff: noqa: S608 — the SQL is built from constants, never from a catalog's values.
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from artifacts.config import EncoderConfig, EngineConfig
from artifacts.encoders.identity import EncoderIdentity, encoder_identity
from artifacts.errors import EncoderError, IncompatibleRelease, PublishConflict, StepFailed
from artifacts.products.table import ARROW_FILE
from artifacts.schema import DELETED, OK, STATE
from artifacts.segments.info import STATE_FILE, delta_share, quantizer_drift, read_info, totals
from artifacts.store.manifest import Counts, Manifest, SegmentRef
from artifacts.store.store import Store
from jobs.catalog.compare.state import StateFiles, create_row_views

if TYPE_CHECKING:
    from artifacts.release.release import Release


@dataclass(frozen=True)
class Served:
    """A version of the store, on this machine."""

    manifest: Manifest
    folders: list[Path]

    @classmethod
    def of(cls, store: Store, version: str | None = None) -> Served:
        """Return a version, by default the current one.

        Raises:
            NoRelease: nothing has been published, or there is no such version.
            PublishConflict: its segments have been pruned.
            StepFailed: it has no state of the catalog.
        """
        manifest = store.manifest(version)
        folders = store.fetch(manifest)
        for folder in folders:
            if not folder.exists():
                raise PublishConflict(
                    f"version {manifest.version} has been pruned: newer ones were published meanwhile"
                )
            if not (folder / STATE_FILE).exists():
                raise StepFailed(
                    f"version {manifest.version} was built by Lookalike 0.1 and does not say what its catalog was: run "
                    "`lookalike build` once, and refresh after that"
                )
        return cls(manifest, folders)

    @property
    def state_files(self) -> StateFiles:
        return StateFiles(*(folder / STATE_FILE for folder in self.folders))

    @property
    def schema(self) -> pa.Schema:
        """Of the product rows: the delta's, or the base's if there is no delta."""
        with pa.memory_map(str(self.folders[-1] / read_info(self.folders[-1]).paths(ARROW_FILE)[0])) as mapped:
            return pa.ipc.open_file(mapped).schema

    def alone(self, store: Store, base: SegmentRef, encoder: Mapping[str, Any]) -> Served:
        """Return what this version would be with another base, made with an encoder, and no delta."""
        manifest = self.manifest.model_copy(update={"segments": [base], "encoder": dict(encoder)})
        return Served(manifest, store.fetch(manifest))

    def engine_url(self, config: EngineConfig) -> str:
        """Return where the base's engine is: as configured, if the base is of the configured engine, else as before."""
        engine = read_info(self.folders[0]).engine
        is_configured = engine is not None and engine.kind == config.engine
        return (config.engine_url if is_configured else "") or self.manifest.engine_url

    def require_encoder(self, encoder: EncoderConfig, cache: Path) -> EncoderIdentity:
        """Return the identity of a configured encoder, if this version was embedded with it.

        Raises:
            IncompatibleRelease: it was not; the message names the one that it was embedded with.
            EncoderError: the encoder cannot be loaded.
        """
        spec = self.manifest.encoder.get("spec", self.manifest.encoder["id"])
        advice = (
            f"version {self.manifest.version} was embedded with {spec}: set LOOKALIKE_ENCODER to that, or move to "
            "another encoder with `lookalike backfill --encoder`"
        )
        try:
            identity = encoder_identity(encoder.encoder, encoder.device, cache)
        except EncoderError as error:
            if spec == encoder.encoder:
                raise
            raise IncompatibleRelease(f"{advice}. {encoder.encoder} cannot be loaded: {error}") from error
        if identity.id != self.manifest.encoder["id"]:
            raise IncompatibleRelease(
                f"{advice}. {encoder.encoder} is {identity.id}, not {self.manifest.encoder['id']}"
            )
        return identity

    @property
    def delta(self) -> SegmentRef | None:
        """The delta, if there is one."""
        return self.manifest.segments[1] if len(self.manifest.segments) > 1 else None

    @property
    def delta_share(self) -> float:
        """The share of the base's rows that the delta touches; see `artifacts.segments.info.delta_share`."""
        return delta_share([read_info(folder) for folder in self.folders])

    @property
    def drift(self) -> float | None:
        """How much farther from the centroids the rows are than those that the quantizer was trained on; see
        `quantizer_drift`."""
        return quantizer_drift([read_info(folder) for folder in self.folders])

    def open(self) -> Release:
        """Open the release. Files are not verified: those who search it do that."""
        from artifacts.release.release import Release  # imports FAISS

        return Release(self.manifest, self.folders, verify=False)


def counts_of(folders: Sequence[Path], rejected_rows: Mapping[str, int]) -> Counts:
    """Return the counts of a base and its delta.

    Args:
        folders: of the segments.
        rejected_rows: Reason -> rows of the catalog that the rules rejected.
    """
    with State(StateFiles(*(folder / STATE_FILE for folder in folders))) as state:
        of_pictures = Counter(state.rejected()["reason"].to_pylist())
        failed_pictures = state.failed_pictures()
    rejected = Counter(rejected_rows) + of_pictures
    indexed, pictures = totals([read_info(folder) for folder in folders])
    return Counts(
        input_rows=indexed + rejected.total(),
        indexed=indexed,
        pictures=pictures,
        rejected=dict(sorted(rejected.items())),
        rejected_pictures=dict(sorted(of_pictures.items())),
        failed_pictures=failed_pictures,
    )


def rejected_rows(counts: Counts) -> dict[str, int]:
    """Return Reason -> rows of the catalog that the rules rejected, and not for their pictures."""
    return dict(Counter(counts.rejected) - Counter(counts.rejected_pictures))


#: Views that products are looked up in.
_VIEWS = ("state_rows", "base_rows")


class State:
    """Reads the state of the catalog of a base and its delta; closed by `with`.

    Args:
        files: of the release.
    """

    def __init__(self, files: StateFiles) -> None:
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")
        create_row_views(self._connection, files)
        self.load([])

    def __enter__(self) -> State:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def load(self, product_ids: Iterable[str]) -> None:
        """Read the rows of some products once, so that `of_products` and `of_base_products` find them in memory."""
        self._connection.register("wanted", pa.table({"product_id": pa.array(product_ids, pa.string())}))
        self._connection.execute("CREATE OR REPLACE TABLE loaded_ids AS FROM wanted")
        for view in _VIEWS:
            self._connection.execute(
                f"CREATE OR REPLACE TABLE loaded_{view} AS FROM {view} SEMI JOIN loaded_ids USING (product_id)"
            )

    def of_products(self, product_ids: Iterable[str]) -> pa.Table:
        """Return the rows of some products, as STATE, the pictures of each in order."""
        return self._of("state_rows", product_ids)

    def of_base_products(self, product_ids: Iterable[str]) -> pa.Table:
        """Return the base's rows of some products, whatever the delta says of them."""
        return self._of("base_rows", product_ids)

    def delta(self) -> pa.Table:
        """Return all rows of the delta, in their order."""
        return self._table("FROM delta_rows")

    def delta_since(self) -> datetime | None:
        """Return when the oldest change in the delta was applied; None if there is no delta."""
        row = self._connection.execute("SELECT epoch_us(min(applied_at)) FROM delta_rows").fetchone()
        return None if row is None or row[0] is None else datetime.fromtimestamp(row[0] / 1e6, UTC)

    def all_rows(self) -> pa.RecordBatchReader:
        """Stream the state of all products."""
        return self._connection.sql("FROM state_rows").to_arrow_reader(65_536)

    def rows_with_pictures(self, digests: Sequence[bytes]) -> dict[bytes, tuple[int, bool]]:
        """Return for each known picture a row that has it, and whether that row is the delta's.

        Rows of the base that the delta replaces are among them: their vectors are still there.

        Args:
            digests: first halves of the sha256 of stored JPEGs.
        """
        if not digests:
            return {}
        self._connection.register("digests", pa.table({"sha256": pa.array(digests, pa.binary())}))
        statement = (
            "SELECT DISTINCT ON (sha256) sha256, row, in_delta FROM (FROM delta_rows UNION ALL BY NAME FROM base_rows) "
            f"SEMI JOIN digests USING (sha256) WHERE status = '{OK}'"
        )
        rows = self._connection.execute(statement).fetchall()
        return {bytes(digest): (row, in_delta) for digest, row, in_delta in rows}

    def products_with_other_pictures(self, pictures: pa.Table) -> list[str]:
        """Return the products of the release that have another picture behind the same source.

        Args:
            pictures: product_id, source and sha256, as STATE has them.
        """
        self._connection.register("pictures", pictures)
        statement = (
            "SELECT DISTINCT s.product_id FROM state_rows s JOIN pictures p USING (product_id, source) "
            f"WHERE s.status = '{OK}' AND s.sha256 <> p.sha256"
        )
        return [product_id for (product_id,) in self._connection.execute(statement).fetchall()]

    def rejected(self) -> pa.Table:
        """Return product_id and reason of every product without a usable picture: that of its first picture."""
        statement = (
            "SELECT product_id, arg_min(status, picture) AS reason FROM state_rows "
            f"WHERE status NOT IN ('{OK}', '{DELETED}') AND product_id NOT IN ({self._indexed_among_failed()}) "
            "GROUP BY product_id ORDER BY product_id"
        )
        return self._connection.sql(statement).to_arrow_table()

    def failures(self) -> set[str]:
        """Return the reasons for which pictures have failed."""
        statement = f"SELECT DISTINCT status FROM state_rows WHERE status NOT IN ('{OK}', '{DELETED}')"
        return {reason for (reason,) in self._connection.execute(statement).fetchall()}

    def failed_pictures(self) -> dict[str, int]:
        """Return Reason -> failed pictures of indexed products."""
        statement = (
            f"SELECT status, count(*) FROM state_rows WHERE status NOT IN ('{OK}', '{DELETED}') "
            f"AND product_id IN ({self._indexed_among_failed()}) GROUP BY status ORDER BY status"
        )
        return dict(self._connection.execute(statement).fetchall())

    def _indexed_among_failed(self) -> str:
        failed = f"SELECT product_id FROM state_rows WHERE status NOT IN ('{OK}', '{DELETED}')"
        return f"SELECT product_id FROM state_rows WHERE status = '{OK}' AND product_id IN ({failed})"

    def _of(self, view: str, product_ids: Iterable[str]) -> pa.Table:
        self._connection.register("wanted", pa.table({"product_id": pa.array(product_ids, pa.string())}))
        others = self._connection.execute("SELECT 1 FROM wanted ANTI JOIN loaded_ids USING (product_id) LIMIT 1")
        if not others.fetchall():
            view = f"loaded_{view}"
        return self._table(f"SELECT s.* FROM {view} s SEMI JOIN wanted USING (product_id) ORDER BY product_id, picture")

    def _table(self, query: str) -> pa.Table:
        return self._connection.sql(query).to_arrow_table().select(STATE.names).cast(STATE)

"""Joins the accepted rows of a catalog with the state of the served release.

    stamps     one row per accepted row that names local files: the digest of its list of pictures
    compared   one row per product with a kind; products that are equal have none
                 new, pictures, attributes   to be written
                 stale                       the release knows of a later event than the row
                 missing                     the release has the product, and the catalog has not
    deletions  one row per product that the catalog is without: deleted, or kept for a later event

All rows are in DuckDB, which spills to disk; only the stamps of local files are read by Python, in batches.
"""

from __future__ import annotations

# ruff: noqa: S608 — the SQL is built from constants, numbers and text_literal(), never from a catalog's values.
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.products.sql import text_literal
from artifacts.schema import ATTRIBUTES_DIGEST, CATALOG_COLUMNS, DELETED, OK, Reason, picture_list
from jobs.catalog.attribute_types import AttributeTypes, typed_query
from jobs.catalog.compare.selection import Selection
from jobs.catalog.compare.state import served_products
from jobs.catalog.digests import all_http_sql, pictures_digest_sql
from jobs.catalog.local_pictures import LocalPictures
from jobs.catalog.rules import VALID_YEARS, values_query
from jobs.catalog.staging import Staging, parquet_file_sql, run_sql

#: Rows whose local files are looked at together.
STAMP_ROWS = 10_000


class Comparison:
    """The accepted rows of a catalog and the state of a release, side by side.

    Args:
        staging: the rows; the tables of `validate_rows` and the views of `create_state_views` exist.
        types: of the attributes.
        base: the folder of relative pictures, as jobs.catalog.source.Source has it.
        changes_only: whether the catalog names only what has changed.
        force: products that are taken as changed; None for none.
        retries_only: whether only products are changed that the state tries again, and says the same of as the row.

    Attributes:
        watermark: greatest updated_at of all rows, accepted or not; None if there is none.
        local_files: whether any accepted row names a file on this machine.
    """

    def __init__(
        self,
        staging: Staging,
        types: AttributeTypes,
        base: str | None,
        changes_only: bool,
        force: Selection | None,
        *,
        retries_only: bool = False,
    ) -> None:
        self._staging, self._types, self._changes_only = staging, types, changes_only
        self._con = staging.con
        self.watermark = self._greatest_updated_at()
        self.local_files = self._create_stamps(LocalPictures(base))
        self._create_compared(force)
        self._create_deletions()
        if retries_only:
            self._keep_retries()
        if force is not None and force.only:
            self._keep_forced(force)

    def _greatest_updated_at(self) -> datetime | None:
        latest = f"max(CASE WHEN updated_at_value {VALID_YEARS} THEN updated_at_value END)"
        ((microseconds,),) = run_sql(self._con, f"SELECT epoch_us({latest}) FROM {values_query(self._staging)}")
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return None if microseconds is None else epoch + timedelta(microseconds=microseconds)

    def _create_stamps(self, pictures: LocalPictures) -> bool:
        """Create the view `stamps` (_row, pictures); return whether any accepted row names a local file."""
        path = self._staging.path.with_name("stamps.parquet")
        rows = f"""SELECT _row, image_url FROM {typed_query(self._staging, self._types)}
            WHERE {"false" if pictures.root is None else f"NOT {all_http_sql('image_url')}"}"""
        count = _write_stamps(self._con, rows, pictures, path)
        run_sql(self._con, f"CREATE VIEW stamps AS FROM {parquet_file_sql(path)}")
        return count > 0

    def _digests(self, force: Selection | None) -> str:
        """Select the accepted rows: _row, product_id, updated_at, attributes, pictures, forced."""
        pictures = pictures_digest_sql("image_url")
        if self.local_files:
            pictures = f"coalesce(stamps.pictures, {pictures})"
        forced = force.condition_sql(self._con) if force else "false"
        return f"""(SELECT t._row, product_id, updated_at, {ATTRIBUTES_DIGEST} AS attributes, {pictures} AS pictures,
                {forced} AS forced
            FROM {typed_query(self._staging, self._types)} t {"LEFT JOIN stamps USING (_row)" * self.local_files})"""

    def _create_compared(self, force: Selection | None) -> None:
        join = "LEFT" if self._changes_only else "FULL"
        # A change file says nothing of the products that it does not name.
        missing = "" if self._changes_only else f"WHEN d.product_id IS NULL AND s.status <> '{DELETED}' THEN 'missing'"
        run_sql(
            self._con,
            f"""CREATE TABLE compared AS SELECT * FROM (
                SELECT d._row, coalesce(d.product_id, s.product_id) AS product_id, d.attributes, d.pictures,
                    s.updated_at AS state_updated_at, coalesce(d.forced, false) AS forced,
                    CASE {missing} WHEN d.product_id IS NULL THEN NULL
                        WHEN d.updated_at < s.updated_at THEN 'stale'
                        WHEN s.product_id IS NULL OR s.status = '{DELETED}' THEN 'new'
                        WHEN d.forced OR s.again OR d.pictures IS DISTINCT FROM s.pictures THEN 'pictures'
                        WHEN d.attributes IS DISTINCT FROM s.attributes THEN 'attributes' END AS kind
                FROM {self._digests(force)} d {join} JOIN state s ON d.product_id = s.product_id)
                WHERE kind IS NOT NULL""",
        )
        run_sql(
            self._con,
            f"""UPDATE compared SET kind = 'new' WHERE kind IN ('pictures', 'attributes')
                AND product_id NOT IN {served_products("compared")}""",
        )

    def _create_deletions(self) -> None:
        """Create the table `deletions` (product_id, updated_at, kept)."""
        reasons = f"= '{Reason.INACTIVE}'" if self._changes_only else f"<> '{Reason.DUPLICATE_PRODUCT_ID}'"
        named = f"""(SELECT v.product_id,
                CASE WHEN updated_at_value {VALID_YEARS} THEN updated_at_value END AS updated_at
            FROM {values_query(self._staging, "rejected")} v JOIN rejected USING (_row)
            WHERE v.product_id IS NOT NULL AND reason {reasons})"""
        if self._changes_only:
            # A deletion that is later than the tombstone, or of a product that is not known yet, is remembered: an
            # older event may still come.
            query = f"""SELECT product_id, coalesce(n.updated_at, s.updated_at) AS updated_at,
                    coalesce(n.updated_at < s.updated_at, false) AS kept
                FROM {named} n LEFT JOIN state s USING (product_id)
                WHERE CASE WHEN s.product_id IS NULL THEN n.updated_at IS NOT NULL
                    WHEN s.status = '{DELETED}' THEN coalesce(n.updated_at > s.updated_at, s.updated_at IS NULL
                        AND n.updated_at IS NOT NULL) ELSE true END"""
        else:
            watermark = text_literal(self.watermark.isoformat()) if self.watermark else "NULL"
            query = f"""SELECT product_id, coalesce(n.updated_at, c.state_updated_at) AS updated_at,
                    coalesce(coalesce(n.updated_at, {watermark}::TIMESTAMPTZ) < c.state_updated_at, false) AS kept
                FROM (SELECT product_id, state_updated_at FROM compared WHERE kind = 'missing') c
                LEFT JOIN {named} n USING (product_id)"""
        run_sql(self._con, f"CREATE TABLE deletions AS {query}")

    def _keep_retries(self) -> None:
        """Drop every change of rows that the release says something else of, or has no failure to make good."""
        run_sql(
            self._con,
            """DELETE FROM compared c WHERE NOT EXISTS (FROM state s WHERE s.product_id = c.product_id AND s.again
                AND s.attributes = c.attributes AND s.pictures = c.pictures)""",
        )
        run_sql(self._con, "DELETE FROM deletions")

    def _keep_forced(self, force: Selection) -> None:
        """Drop every change of products that are not selected, and deletions of those that are not by their ids."""
        run_sql(self._con, "DELETE FROM compared WHERE NOT forced")
        product_ids = sorted(force.product_ids or ())
        self._con.register("forced_ids", pa.table({"product_id": pa.array(product_ids, pa.string())}))
        run_sql(self._con, "DELETE FROM deletions WHERE product_id NOT IN (FROM forced_ids)")

    def kinds(self) -> dict[str, int]:
        """Return the number of products of each kind."""
        return dict(run_sql(self._con, "SELECT kind, count(*) FROM compared GROUP BY kind"))

    def deletions(self) -> tuple[int, int]:
        """Return how many products are deleted, and how many are kept because of a later event."""
        ((deleted, kept),) = run_sql(
            self._con, "SELECT count(*) FILTER (NOT kept), count(*) FILTER (kept) FROM deletions"
        )
        return deleted, kept

    def failures(self) -> list[tuple[str, str, str]]:
        """Return product, reason and detail of every failed picture of the products that are equal."""
        return run_sql(
            self._con,
            f"""SELECT product_id, status, 'as in an earlier refresh' FROM state_rows SEMI JOIN (
                SELECT product_id FROM {typed_query(self._staging, self._types)} ANTI JOIN compared USING (product_id)
                ) USING (product_id)
            WHERE status NOT IN ('{OK}', '{DELETED}') ORDER BY product_id""",
        )

    def changed_query(self) -> str:
        """Select the changed products as changes_schema has them, sorted by product_id."""
        run_sql(self._con, "CREATE TABLE changed AS FROM compared WHERE kind IN ('new', 'pictures', 'attributes')")
        columns = [f"t.{name}" for name in (*CATALOG_COLUMNS, *(f"a{index}" for index in range(len(self._types))))]
        return f"""SELECT {", ".join(columns)}, c.attributes, c.pictures, c.kind
            FROM {typed_query(self._staging, self._types, "changed")} t JOIN changed c USING (_row)
            ORDER BY t.product_id"""

    def deletions_query(self) -> str:
        """Select the products to delete as DELETIONS has them, sorted by product_id."""
        return "SELECT product_id, updated_at FROM deletions WHERE NOT kept ORDER BY product_id"


def _write_stamps(con: duckdb.DuckDBPyConnection, query: str, pictures: LocalPictures, path: Path) -> int:
    """Write `stamps` of a query's rows (_row, list of URLs); return their number."""
    schema = pa.schema([pa.field("_row", pa.int64()), pa.field("pictures", pa.uint64())])
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in con.sql(query).to_arrow_reader(STAMP_ROWS):
            lists = ([(url, pictures.stamp(url)) for url in urls] for urls in batch.column(1).to_pylist())
            digests = pa.array(map(picture_list, lists), pa.uint64())
            writer.write_batch(pa.record_batch([batch.column(0), digests], schema=schema))
            count += len(batch)
    return count

"""Products that are taken as changed although the catalog says the same of them as before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa

from artifacts.products.sql import text_literal


@dataclass(frozen=True)
class Selection:
    """Selects the products that meet every condition that is given; without any, all products.

    Attributes:
        product_ids: the product is one of these.
        categories: its category is one of these.
        updated_from: its updated_at is this or later; aware.
        updated_before: its updated_at is earlier than this; aware.
        only: whether everything that a catalog says of other products is left out.
    """

    product_ids: frozenset[str] | None = None
    categories: frozenset[str] | None = None
    updated_from: datetime | None = None
    updated_before: datetime | None = None
    only: bool = False

    def condition_sql(self, con: duckdb.DuckDBPyConnection) -> str:
        """Build the condition on the columns product_id, category and updated_at; never null."""
        conditions = []
        for column, values in (("product_id", self.product_ids), ("category", self.categories)):
            if values is not None:  # as a table, because there may be many
                con.register(f"selected_{column}", pa.table({"value": pa.array(sorted(values), pa.string())}))
                conditions.append(f"{column} IN (FROM selected_{column})")
        for operator, time in ((">=", self.updated_from), ("<", self.updated_before)):
            if time is not None:
                conditions.append(f"updated_at {operator} {text_literal(time.isoformat())}::TIMESTAMPTZ")
        return f"coalesce({' AND '.join(conditions)}, false)" if conditions else "true"

"""Table of `lookalike bench features`."""

from __future__ import annotations

from rich.table import Table

from jobs.bench.features.measure import FeaturesReport
from jobs.bench.show.common import number_table


def features_table(report: FeaturesReport) -> Table:
    """Return a row for each store."""
    title = f"{report.rows:,} vectors of {report.dim} dimensions, rows a second of one client, best of {report.turns}"
    numbers = ("put", "put again", "get", "get, half known", "keys a get", "one key p50 ms", "p99 ms", "bytes a row")
    table = number_table(title, "store", *numbers)
    for store in report.stores:
        rates = (store.put, store.put_again, store.get, store.get_half, store.rows_per_get)
        times = (store.single_p50_ms, store.single_p99_ms)
        table.add_row(
            store.version, *(f"{rate:,.0f}" for rate in rates), *(f"{time:.2f}" for time in times),
            f"{store.bytes_per_row:,}",
        )  # fmt: skip
    return table

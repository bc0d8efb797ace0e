"""Table of `lookalike bench stream`."""

from __future__ import annotations

from rich.table import Table

from jobs.bench.show.common import number_table
from jobs.bench.stream import StreamReport


def stream_table(report: StreamReport) -> Table:
    """Return one row of what was measured."""
    title = (
        f"{report.events:,} events over {report.products:,} products in {report.seconds:.0f} s; "
        f"{report.wrong} products are wrong"
    )
    table = number_table(
        title, "releases", "searchable after s, p50", "p99", "slowest", "drained after s", "s of a core"
    )
    table.add_row(
        str(report.versions),
        f"{report.p50_seconds:.1f}",
        f"{report.p99_seconds:.1f}",
        f"{report.slowest_seconds:.1f}",
        f"{report.drained_seconds:.1f}",
        f"{report.core_seconds:.0f}",
    )
    return table

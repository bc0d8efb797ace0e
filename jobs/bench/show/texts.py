"""Table of `lookalike bench texts`."""

from __future__ import annotations

from rich.table import Table

from jobs.bench.show.common import number_table
from jobs.bench.texts import TextsReport


def texts_table(report: TextsReport) -> Table:
    """Return a row for each encoder and number of texts in a call."""
    title = f"CPU time of a text; recall@100 {report.recall_at_100:.4f}, cosine at least {report.cosine:.5f}"
    table = number_table(title, "encoder", "texts in a call", "float32 ms", "bfloat16 ms", "ratio")
    for time in report.times:
        ratio = f"{time.float32_ms / time.bfloat16_ms:.2f}"
        table.add_row(time.encoder, str(time.at_once), f"{time.float32_ms:.2f}", f"{time.bfloat16_ms:.2f}", ratio)
    return table

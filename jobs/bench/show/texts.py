"""TODO."""

from __future__ import annotations

from rich.table import Table

from jobs.bench.show.serve import number_table
from jobs.bench.texts import TextsBench


def texts_table(bench: TextsBench) -> Table:
    """A row for each encoder and number of texts in a call."""
    title = f"Processor time of a text; recall@100 {bench.recall_at_100:.4f}, cosine at least {bench.cosine:.5f}"
    table = number_table(title, "encoder", "texts in a call", "float32 ms", "bfloat16 ms", "ratio")
    for each in bench.times:
        ratio = f"{each.float32_ms / each.bfloat16_ms:.2f}"
        table.add_row(each.encoder, str(each.at_once), f"{each.float32_ms:.2f}", f"{each.bfloat16_ms:.2f}", ratio)
    return table

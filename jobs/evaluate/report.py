"""report.html: what the gate measured, for people; one file with its pictures inside."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure

from jobs.candidate import Candidate
from jobs.evaluate.results import Evaluation, FilterResult, KindResult

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}
.bad{color:#b00020;font-weight:600}.good{color:#0a7a3c;font-weight:600}
"""
_COLOURS = {"image": "#0b6e99", "text": "#c2571a"}


def render_report(candidate: Candidate, evaluation: Evaluation) -> str:
    """The whole page."""
    verdict = (
        "<p class=good>Passed.</p>"
        if not evaluation.problems
        else "".join(f"<p class=bad>{html.escape(problem)}</p>" for problem in evaluation.problems)
    )
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Lookalike evaluation</title><style>{_STYLE}</style>",
        f"<h1>Is this release good enough?</h1>{verdict}",
        f"<p>Encoder {html.escape(candidate.encoder['id'])}; {candidate.counts.indexed:,} products with "
        f"{candidate.counts.pictures:,} pictures; target recall@100 {evaluation.target}; "
        f"measured in {evaluation.seconds:.1f} s.</p>",
        "<h2>Recall and latency</h2>",
        _table(
            ["queries", "n", "recall@10", "recall@100", "own in top 10", "nprobe", "rescore", "p50 ms", "p99 ms"],
            [
                [
                    result.kind, result.queries, f"{result.recall_at_10:.3f}", f"{result.recall_at_100:.3f}",
                    f"{result.found_itself:.3f}", result.params.nprobe, result.params.rescore, result.p50_ms,
                    result.p99_ms,
                ]
                for result in evaluation.kinds
            ],
        ),
        _trials_plot(evaluation.kinds, evaluation.target),
        "<h2>Under filters</h2>",
        _table(
            ["queries", "filter", "products", "path", "recall@100", "p50 ms"],
            [
                [r.kind, r.name, f"{r.share:.2%}", r.path, f"{r.recall_at_100:.3f}", r.p50_ms]
                for r in evaluation.filters
            ],
        ),
        _filters_plot(evaluation.filters, evaluation.target),
        "<h2>Where every row of the catalog went</h2>",
        _table(
            ["", "rows"],
            [
                ["catalog rows", candidate.counts.input_rows],
                ["indexed products", candidate.counts.indexed],
                *([f"rejected: {reason}", count] for reason, count in candidate.counts.rejected.items()),
            ],
        ),
    ]  # fmt: skip
    return "\n".join(parts) + "</html>\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def cell(tag: str, value: object) -> str:
        number = isinstance(value, int | float) or str(value).rstrip("%").replace(".", "", 1).isdigit()
        text = f"{value:,}" if isinstance(value, int) else str(value)
        return f"<{tag}{' class=n' if number else ''}>{html.escape(text)}</{tag}>"

    lines = ["".join(cell("td", value) for value in row) for row in rows]
    return f"<table><tr>{''.join(cell('th', name) for name in head)}</tr><tr>{'</tr><tr>'.join(lines)}</tr></table>"


def _trials_plot(kinds: Sequence[KindResult], target: float) -> str:
    """Recall against cost, one line for each kind and rescoring depth; nothing to see where the index is flat."""
    if all(len(result.trials) < 2 for result in kinds):
        return "<p>The index is flat: every search is exact, and there is nothing to choose.</p>"
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for result in kinds:
        for depth in sorted({trial.rescore for trial in result.trials}):
            line = [trial for trial in result.trials if trial.rescore == depth]
            axes.plot(
                [trial.milliseconds for trial in line], [trial.recall_at_100 for trial in line], marker=".",
                color=_COLOURS[result.kind], alpha=0.3 + 0.6 * (depth == result.params.rescore),
                label=result.kind if depth == result.params.rescore else None,
            )  # fmt: skip
            axes.annotate(f"x{depth}", (line[-1].milliseconds, line[-1].recall_at_100), fontsize=8)
    axes.axhline(target, color="#888", linestyle=":", label="target")
    axes.set(xlabel="ms a query (in a batch)", ylabel="recall@100", title="nprobe along each line; xN: rescoring depth")
    axes.legend()
    return _as_img(figure, "recall against milliseconds a query")


def _filters_plot(filters: Sequence[FilterResult], target: float) -> str:
    if not filters:
        return ""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for kind in sorted({result.kind for result in filters}):
        points = sorted((r for r in filters if r.kind == kind), key=lambda r: r.share)
        axes.plot(
            [100 * r.share for r in points], [r.recall_at_100 for r in points], "o-", color=_COLOURS[kind], label=kind
        )
    axes.axhline(target, color="#888", linestyle=":", label="target")
    axes.set(xscale="log", ylim=(min(0.8, *(r.recall_at_100 for r in filters)), 1.01))
    axes.set(xlabel="% of the products pass the filter", ylabel="recall@100")
    axes.legend()
    return _as_img(figure, "recall under filters")


def _as_img(figure: Figure, alt: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{encoded}">'

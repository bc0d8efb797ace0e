"""report.html: the measurements of the gate for people, as one file with its plots inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure

from artifacts.index.choosing import size_text
from jobs.candidate import Candidate
from jobs.evaluate.results import Evaluation, FilterResult, IndexFacts, ModalityResult
from jobs.evaluate.samples import SampleSearch

_TEMPLATE = "report.html.j2"
#: Parts of a segment that are listed.
_SHOWN_PARTS = 20
_COLOURS = {"image": "#0b6e99", "text": "#c2571a"}


def render_report(candidate: Candidate, evaluation: Evaluation, samples: Sequence[SampleSearch] = ()) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"is_number": _is_number, "grouped": _grouped}
    counts = candidate.counts
    return environment.get_template(_TEMPLATE).render(
        candidate=candidate,
        evaluation=evaluation,
        samples=samples,
        index_rows=_index_rows(evaluation.index) if evaluation.index else [],
        part_rows=_part_rows(evaluation.index) if evaluation.index else [],
        depth_name=_depth_name(evaluation.index),
        recall_rows=[
            [
                result.modality, result.queries, f"{result.recall_at_10:.3f}", f"{result.recall_at_100:.3f}",
                f"{result.found_itself:.3f}", result.params.nprobe, result.params.rescore, result.p50_ms, result.p99_ms,
            ]
            for result in evaluation.modalities
        ],
        filter_rows=[
            [
                result.modality, result.name, f"{result.share:.2%}", result.path, f"{result.recall_at_100:.3f}",
                result.p50_ms,
            ]
            for result in evaluation.filters
        ],
        count_rows=[
            ["catalog rows", counts.input_rows],
            ["indexed products", counts.indexed],
            *([f"rejected: {reason}", count] for reason, count in counts.rejected.items()),
        ],
        trials_plot=_trials_plot(evaluation.modalities, evaluation.target, _depth_name(evaluation.index)),
        filters_plot=_filters_plot(evaluation.filters, evaluation.target),
    )  # fmt: skip


def _depth_name(index: IndexFacts | None) -> str:
    """Return what FAISS calls the depth that `nprobe` is in this index."""
    return "efSearch" if index and index.codec == "hnsw" else "nprobe"


def _index_rows(index: IndexFacts) -> list[list[object]]:
    rows: list[list[object]] = [
        ["codec", f"{index.codec} ({index.factory})"],
        ["rows", index.rows],
        ["resident memory of a row", f"{index.row_bytes:,.0f} bytes"],
        ["resident memory in all", size_text(index.resident_bytes)],
    ]
    if index.lists:
        rows += [["IVF lists", index.lists], ["rows trained on", index.train_rows]]
    if index.imbalance is not None:
        rows += [
            ["imbalance of the lists (1: all of one size)", f"{index.imbalance:.2f}"],
            ["rows in a list on average, in the largest", f"{index.rows / index.lists:,.0f}, {index.largest_list:,}"],
            ["empty lists", index.empty_lists],
        ]
    if index.drift is not None:
        rows.append(["drift of the quantizer", f"{index.drift:.1%}"])
    if index.delta_rows:
        rows.append(["rows of the delta", index.delta_rows])
    return rows


def _part_rows(index: IndexFacts) -> list[list[object]]:
    """Return the parts as rows; of many parts the smallest and the largest."""
    parts = sorted(zip(index.part_rows, index.part_bytes, range(len(index.part_rows)), strict=True))
    if len(parts) > _SHOWN_PARTS:
        parts = parts[: _SHOWN_PARTS // 2] + parts[-_SHOWN_PARTS // 2 :]
    return [[str(number), rows, size_text(size)] for rows, size, number in sorted(parts, key=lambda part: part[2])]


def _is_number(value: object) -> bool:
    """Tell whether a cell is a number, or the text of one."""
    return isinstance(value, int | float) or str(value).rstrip("%").replace(".", "", 1).isdigit()


def _grouped(value: object) -> str:
    """Return the text of a cell; whole numbers with separators of thousands."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def _trials_plot(modalities: Sequence[ModalityResult], target: float, depth_name: str) -> str | None:
    """Recall against cost, one line for each modality and rescoring depth, as PNG in base64; None for a flat index."""
    if all(len(result.trials) < 2 for result in modalities):
        return None
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for result in modalities:
        for depth in sorted({trial.rescore for trial in result.trials}):
            line = [trial for trial in result.trials if trial.rescore == depth]
            axes.plot(
                [trial.milliseconds for trial in line], [trial.recall_at_100 for trial in line], marker=".",
                color=_COLOURS[result.modality], alpha=0.3 + 0.6 * (depth == result.params.rescore),
                label=result.modality if depth == result.params.rescore else None,
            )  # fmt: skip
            axes.annotate(f"x{depth}", (line[-1].milliseconds, line[-1].recall_at_100), fontsize=8)
    axes.axhline(target, color="#888", linestyle=":", label="target")
    title = f"{depth_name} along each line; xN: rescoring depth"
    axes.set(xlabel="ms a query (in a batch)", ylabel="recall@100", title=title)
    axes.legend()
    return _as_png(figure)


def _filters_plot(filters: Sequence[FilterResult], target: float) -> str | None:
    """Recall against selectivity, one line for each modality, as PNG in base64; None without filters."""
    if not filters:
        return None
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for modality in sorted({result.modality for result in filters}):
        points = sorted((r for r in filters if r.modality == modality), key=lambda r: r.share)
        axes.plot(
            [100 * r.share for r in points],
            [r.recall_at_100 for r in points],
            "o-",
            color=_COLOURS[modality],
            label=modality,
        )
    axes.axhline(target, color="#888", linestyle=":", label="target")
    axes.set(xscale="log", ylim=(min(0.8, *(r.recall_at_100 for r in filters)), 1.01))
    axes.set(xlabel="% of the products pass the filter", ylabel="recall@100")
    axes.legend()
    return _as_png(figure)


def _as_png(figure: Figure) -> str:
    """Return the figure as PNG in base64."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()

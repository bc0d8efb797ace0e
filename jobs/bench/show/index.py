"""Tables and plot of `lookalike bench index`."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import Bbox
from rich.markup import escape
from rich.table import Table

from jobs.bench.index.report import OWN, CaseReport, ContenderReport, IndexReport
from jobs.bench.show.common import number_table, save_figure

_DPI = 110
_POINT_RADIUS = 5  # in pixels, of those that names must not cover
#: Places of a point's name, in points from it, in the order of preference.
_LABEL_OFFSETS = (
    ((7, 4), "left"), ((7, -6), "left"), ((-7, 4), "right"), ((-7, -6), "right"),
    ((7, 13), "left"), ((7, -15), "left"), ((-7, 13), "right"), ((-7, -15), "right"),
)  # fmt: skip
_OWN_COLOURS = ("#0b6e99", "#13a0a0", "#3457d5", "#58b4d1", "#0b3d5c", "#7a8fe0")
_PEER_COLOURS = ("#e0600b", "#b00020", "#7a3e9d", "#3f7d20", "#e754a6", "#6b6b6b", "#a68a00")
_MARKERS = "osDv^<>pPh*X"
#: Recall from which on curves are shown; lower if the target is.
_LOWEST_RECALL = 0.85


def tables(report: IndexReport) -> list[Table]:
    """Return all tables: sizes, searches, filters if there were any, and how Lookalike compares with peers."""
    found = [sizes_table(report), searches_table(report)]
    if any(case.kind != "none" for contender in report.measured for case in contender.cases):
        found += [filters_table(report), first_searches_table(report)]
    if any(contender.peer != OWN for contender in report.measured):
        found += [ratios_table(report, own) for own in report.measured if own.peer == OWN]
    return found


def sizes_table(report: IndexReport) -> Table:
    """Return a row for each contender: its size, its build, and why it was not measured."""
    numbers = ("resident B", "on disk B", "build s", "build peak MB", "search: own MB", "mapped MB")
    table = number_table(f"A vector's bytes, and the build on {report.cores} cores: {report.name}", "index", *numbers)
    table.add_column("what it is")
    for found in report.contenders:
        if found.error:
            table.add_row(found.name, *[""] * len(numbers), f"[red]{escape(found.error)}[/]")
            continue
        described = "; ".join(part for part in (f"{found.version}: {found.description}", found.note) if part)
        table.add_row(
            found.name,
            f"{found.resident_bytes:,.0f}",
            f"{found.disk_bytes:,.0f}",
            f"{found.build_seconds:,.1f}",
            f"{found.build_peak_mb:,.0f}",
            f"{found.search_own_mb:,.0f}",
            f"{found.search_mapped_mb:,.0f}",
            escape(described),
        )
    return table


def searches_table(report: IndexReport) -> Table:
    """Return a row for each contender and modality: recall, and queries a second on one thread and on all cores."""
    numbers = (
        "recall@10",
        "recall@100",
        "queries/s",
        "CPU ms",
        "p50 ms",
        "p99 ms",
        f"queries/s, {report.cores} threads",
    )
    title = f"Without a filter, tuned to recall@100 {report.target}, one by one on one thread: {report.name}"
    table = number_table(title, "queries", "index", *numbers)
    table.columns[1].justify = "left"
    table.add_column("setting")
    for modality in report.modalities:
        found = [(contender, contender.case(modality)) for contender in report.measured]
        rows = sorted(((contender, case) for contender, case in found if case), key=lambda row: -row[1].qps)
        for contender, case in rows:
            table.add_row(
                modality,
                contender.name,
                f"{case.recall_at_10:.3f}",
                _recall(case, report.target),
                f"{case.qps:,.0f}",
                f"{case.core_ms:.2f}",
                f"{case.p50_ms:.2f}",
                f"{case.p99_ms:.2f}",
                f"{case.qps_all:,.0f}",
                _setting(case),
                end_section=contender is rows[-1][0],
            )
    return table


def filters_table(report: IndexReport) -> Table:
    """Return a row for each modality and contender: recall@100 and queries a second under each filter."""
    kinds = _filters(report)
    title = f"Under filters: recall@100 and queries/s on one thread: {report.name}"
    table = number_table(title, "queries", "index", *(f"{kind} {share}" for kind, share in kinds))
    table.columns[1].justify = "left"
    for modality in report.modalities:
        for found in report.measured:
            by_key = {_key(case): case for case in found.cases}
            cells = [_filter_cell(by_key.get((modality, *key)), report.target) for key in kinds]
            table.add_row(modality, found.name, *cells, end_section=found is report.measured[-1])
    return table


def first_searches_table(report: IndexReport) -> Table:
    """Return a row for each contender: how long its first search under each filter took, in a new process.

    Of the queries that are measured first: for others the filters are no longer new.
    """
    kinds, modality = _filters(report), report.modalities[0]
    title = f"The first search under a filter, with all that is prepared for it, in ms: {report.name}"
    table = number_table(title, "index", *(f"{kind} {share}" for kind, share in kinds))
    for found in report.measured:
        by_key = {_key(case): case for case in found.cases if not case.unmeasured}
        cases = [by_key.get((modality, *key)) for key in kinds]
        table.add_row(found.name, *("–" if case is None else f"{case.first_ms:,.1f}" for case in cases))
    return table


def _filters(report: IndexReport) -> list[tuple[str, str]]:
    """Return kind and nominal share of each filter, in the order in which they were measured."""
    cases = [case for found in report.measured for case in found.cases if case.kind != "none"]
    return list(dict.fromkeys((case.kind, _nominal(case)) for case in cases))


def _filter_cell(case: CaseReport | None, target: float) -> str:
    if case is None:
        return ""
    return escape(case.unmeasured) if case.unmeasured else f"{_recall(case, target)}  {case.qps:,.0f}"


def _key(case: CaseReport) -> tuple[str, str, str]:
    return case.modality, case.kind, _nominal(case)


def _nominal(case: CaseReport) -> str:
    """Return about which share a filter allows: whole categories never make up exactly a tenth."""
    return f"{case.share:.0%}"


def _recall(case: CaseReport, target: float) -> str:
    text = f"{case.recall_at_100:.3f}"
    return text if case.recall_at_100 >= target else f"[red]{text}[/]"


def _setting(case: CaseReport) -> str:
    hidden = {"filtered_probes", "filtered_rescore", "breadth"}
    return ", ".join(f"{name.split('.')[-1]} {value}" for name, value in case.setting.items() if name not in hidden)


def plot_indexes(report: IndexReport, path: Path) -> None:
    """Plot recall against queries a second for each modality, and below them bytes a vector at the target."""
    modalities = report.modalities
    figure = Figure(figsize=(7.5 * max(1, len(modalities)), 11), layout="constrained")
    axes = figure.subplots(2, max(1, len(modalities)), squeeze=False)
    styles = _styles(report)
    for column, modality in enumerate(modalities):
        _plot_recall(axes[0][column], report, modality, styles)
        _plot_bytes(axes[1][column], report, modality, styles)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=9)
    figure.suptitle(f"{report.name}: one thread, one query at a time")
    save_figure(figure, path, dpi=_DPI)


def _styles(report: IndexReport) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each contender: blues for Lookalike's, one colour for all kinds of a peer's index."""
    own, peers, markers = iter(_OWN_COLOURS * 2), iter(_PEER_COLOURS * 3), iter(_MARKERS * 3)
    colours: dict[str, str] = {}
    styles: dict[str, tuple[str, str]] = {}
    for found in report.measured:
        if found.peer == OWN:
            colour = next(own)
        else:
            colour = colours[found.peer] = colours.get(found.peer) or next(peers)
        styles[found.name] = (colour, next(markers))
    return styles


def _plot_recall(axes: Axes, report: IndexReport, modality: str, styles: dict[str, tuple[str, str]]) -> None:
    for found in report.measured:
        case = found.case(modality)
        if case is None:
            continue
        colour, marker = styles[found.name]
        points = _frontier([(point["recall_at_100"], point["qps"]) for point in case.curve])
        axes.plot(
            [recall for recall, _ in points], [qps for _, qps in points], color=colour, marker=marker, markersize=4,
            linewidth=2.2 if found.peer == OWN else 1.2, label=found.name, zorder=3 if found.peer == OWN else 2,
        )  # fmt: skip
        axes.scatter([case.recall_at_100], [case.qps], s=110, facecolors="none", edgecolors=colour, zorder=4)
    axes.axvline(report.target, color="#999", linewidth=0.8, linestyle="--")
    axes.set(yscale="log", xlabel="recall@100", ylabel="queries/s", title=f"{modality} queries (ring: as measured)")
    axes.set_xlim(left=min(_LOWEST_RECALL, report.target - 0.1), right=1.005)
    _plain_numbers(axes.yaxis)
    axes.grid(alpha=0.25, which="both")


def _frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other point beats in both, by ascending recall."""
    best: list[tuple[float, float]] = []
    for recall, qps in sorted(points, reverse=True):
        if not best or qps > best[-1][1]:
            best.append((recall, qps))
    return best[::-1]


def _plot_bytes(axes: Axes, report: IndexReport, modality: str, styles: dict[str, tuple[str, str]]) -> None:
    places: dict[str, tuple[float, float]] = {}
    for found in report.measured:
        case = found.case(modality)
        if case is None:
            continue
        colour, marker = styles[found.name]
        reached = case.recall_at_100 >= report.target
        place = (found.resident_bytes, case.qps)
        axes.scatter(*place, color=colour if reached else "none", edgecolors=colour, marker=marker, s=70)
        places[found.name] = place
    title = f"{modality} queries at recall@100 {report.target} (hollow: not reached)"
    axes.set(xscale="log", yscale="log", xlabel="resident bytes a vector", ylabel="queries/s", title=title)
    axes.margins(x=0.3, y=0.1)
    _label_points(axes, places)
    _plain_numbers(axes.xaxis)
    _plain_numbers(axes.yaxis)
    axes.grid(alpha=0.25, which="both")


def _label_points(axes: Axes, places: dict[str, tuple[float, float]]) -> None:
    """Write each point's name beside it: on the first side where it covers no point and no name that is there."""
    axes.autoscale_view()
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101  (these axes are in one)
    figure.draw_without_rendering()  # so that places on the page are known
    centres = [axes.transData.transform(place) for place in places.values()]
    written = [Bbox([centre - _POINT_RADIUS, centre + _POINT_RADIUS]) for centre in centres]
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        for offset, align in _LABEL_OFFSETS:
            label = axes.annotate(
                name, place, xytext=offset, textcoords="offset points", ha=align, va="center", fontsize=8
            )
            box = label.get_window_extent()
            if offset == _LABEL_OFFSETS[-1][0] or not any(box.overlaps(other) for other in written):
                written.append(box)
                break
            label.remove()


def _plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with 2,000 instead of 2 × 10³, at 1, 2 and 5 of each power of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:,.0f}")
    axis.set_minor_formatter(NullFormatter())


def ratios_table(report: IndexReport, own: ContenderReport) -> Table:
    """Return a row for each peer: how many times its queries a second Lookalike answers with one of its codecs."""
    mine = {_key(case): case for case in own.cases}
    names = [modality if kind == "none" else f"{modality}, {kind} {share}" for modality, kind, share in mine]
    title = f"Queries/s of {own.name}, as a multiple of a peer's (in brackets: recall below the target)"
    table = number_table(title, "peer", *names)
    for found in report.measured:
        if found.peer == OWN:
            continue
        theirs = {_key(case): case for case in found.cases if not case.unmeasured}
        table.add_row(found.name, *(_ratio(mine[key], theirs.get(key), report.target) for key in mine))
    return table


def _ratio(mine: CaseReport, theirs: CaseReport | None, target: float) -> str:
    if theirs is None or not theirs.qps:
        return "–"
    lower = [f"{found.recall_at_100:.2f}" for found in (mine, theirs) if found.recall_at_100 < target]
    remark = f" ({', '.join(lower)})" if lower else ""
    return f"{mine.qps / theirs.qps:.2f}{remark}"

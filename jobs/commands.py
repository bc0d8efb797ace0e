"""The verbs of the `lookalike` command that keep a published release fresh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from jobs.console import (
    CatalogOption,
    EncoderOption,
    RefetchAllOption,
    RefetchCategoryOption,
    RefetchOption,
    ReleasesOption,
    WorkspaceOption,
    err,
    out,
    settings_with,
)

if TYPE_CHECKING:
    from artifacts.settings import Settings
    from jobs.refresh.report import RefreshReport
    from jobs.steps import StepContext

#: Rejected rows that are printed.
_SHOWN_REJECTS = 10

DateOption = Annotated[
    datetime | None,
    typer.Option("--date", formats=["%Y-%m-%d"], help="Date that replaces {date}; default: the newest partition."),
]


@contextmanager
def _context(settings: Settings, verb: str, catalog: str = "") -> Iterator[StepContext]:
    """Yield the context of a verb, and stop what it has started."""
    from jobs.spark.launcher import SparkLauncher
    from jobs.steps import StepContext

    context = StepContext.open(settings.pipeline, catalog)
    spark = SparkLauncher(f"lookalike {verb}", log=context.workspace.spark_log)
    try:
        yield replace(context, spark=spark)
    finally:
        spark.stop()


def refresh(
    catalog: CatalogOption,
    releases: ReleasesOption = None,
    workspace: WorkspaceOption = None,
    encoder: EncoderOption = None,
    changes: Annotated[
        bool, typer.Option("--changes", help="The catalog names only what has changed; `deleted` marks deletions.")
    ] = False,
    day: DateOption = None,
    refetch: RefetchOption = None,
    refetch_category: RefetchCategoryOption = None,
    refetch_all: RefetchAllOption = False,
) -> None:
    """Bring what a catalog changes into the served release, at a cost that follows the change."""
    from jobs.download.refetch import Refetch
    from jobs.progress import Reporter
    from jobs.refresh.step import run_refresh

    settings = settings_with(releases=releases, workspace=workspace, encoder=encoder)
    selection = Refetch.of(refetch, refetch_category, all=refetch_all)
    with _context(settings, "refresh", catalog) as context:
        result = run_refresh(context, changes_only=changes, day=_day(day), refetch=selection, reporter=Reporter(err))
    report = result.report
    if not result.changed:
        out.print(f"Nothing changed: {report.version} is still served.", highlight=False, soft_wrap=True)
        _print_rejects(report)
        return
    out.print(f"Published {report.version}", highlight=False)
    counted = report.changes
    rows = {
        "new products": counted.new,
        "other pictures": counted.pictures,
        "other attributes": counted.attributes,
        "deleted": counted.deleted,
        "older than the release": counted.stale + counted.kept,
        "pictures fetched": report.obtained.fetched,
        "pictures embedded": report.obtained.embedded,
    }
    table = _table()
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    for reason, count in report.tally.rejected.items():
        table.add_row(f"rejected: {reason}", f"{count:,}")
    if report.tally.lost:
        table.add_row("no longer found", f"{len(report.tally.lost):,}")
    if report.faults:
        table.add_row("rejected rows", f"{len(report.faults):,}")
    table.add_row("delta, of the base", f"{report.delta_share:.2%}")
    if report.drift is not None:
        table.add_row("drift of the quantizer", f"{report.drift:.1%}")
    table.add_row("seconds", f"{report.seconds:.1f}")
    out.print(table)
    _print_rejects(report)
    if report.delta_share >= settings.compact_share:
        out.print("The delta is due to be merged: lookalike compact", highlight=False, soft_wrap=True)


def compact(
    releases: ReleasesOption = None,
    workspace: WorkspaceOption = None,
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only if compact_share or compact_hours is reached.")
    ] = False,
) -> None:
    """Merge the served release's delta into a new base; nothing is downloaded or embedded."""
    from jobs.compact.step import run_compact
    from jobs.progress import Reporter

    settings = settings_with(releases=releases, workspace=workspace)
    with _context(settings, "compact") as context:
        result = run_compact(context, if_due=if_due, reporter=Reporter(err))
    text = f"Published {result.note}" if result.changed else result.note[0].upper() + result.note[1:]
    out.print(text, highlight=False, soft_wrap=True)
    drift = result.report.drift
    if drift is not None and drift >= settings.max_drift:
        out.print(
            f"The rows have moved {drift:.1%} away from the lists that were trained, more than max_drift "
            f"{settings.max_drift:.0%} allows: `lookalike build` trains anew",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def backfill(
    catalog: CatalogOption,
    releases: ReleasesOption = None,
    workspace: WorkspaceOption = None,
    products: Annotated[str | None, typer.Option("--products", metavar="ID,ID", help="Only these products.")] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", metavar="NAME", help="Only these categories; repeatable.")
    ] = None,
    updated_from: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="Only those updated on this day or later."),
    ] = None,
    updated_before: Annotated[
        datetime | None, typer.Option("--before", formats=["%Y-%m-%d"], help="Only those updated before this day.")
    ] = None,
    changes: Annotated[bool, typer.Option("--changes", help="The catalog names only what has changed.")] = False,
    day: DateOption = None,
    redownload: Annotated[bool, typer.Option("--redownload", help="Fetch their pictures again.")] = False,
    reembed: Annotated[bool, typer.Option("--reembed", help="Fetch and embed their pictures again.")] = False,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Embed every product with another encoder, beside the release.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the work, and do none of it.")] = False,
) -> None:
    """Process chosen products again, or all of them with another encoder."""
    from jobs.backfill.request import BackfillRequest
    from jobs.backfill.step import plan_backfill, run_backfill
    from jobs.download.refetch import named_ids
    from jobs.progress import Reporter

    request = BackfillRequest(
        product_ids=frozenset(() if products is None else named_ids(products)),
        categories=frozenset(category or ()),
        updated_from=updated_from and updated_from.replace(tzinfo=UTC),
        updated_before=updated_before and updated_before.replace(tzinfo=UTC),
        redownload=redownload,
        reembed=reembed,
        encoder=encoder,
        day=_day(day),
        changes_only=changes,
    )
    with _context(settings_with(releases=releases, workspace=workspace), "backfill", catalog) as context:
        if dry_run:
            for line in plan_backfill(context, request).lines():
                out.print(line, highlight=False, soft_wrap=True)
            return
        result = run_backfill(context, request, reporter=Reporter(err))
    version = result.report.version
    out.print(
        f"Published {version}" if result.changed else f"{version} is still served", highlight=False, soft_wrap=True
    )
    out.print(result.note, highlight=False, soft_wrap=True)


def stream(
    releases: ReleasesOption = None,
    workspace: WorkspaceOption = None,
    encoder: EncoderOption = None,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="Stop once everything present at the start has been published.")
    ] = False,
) -> None:
    """Apply product events from Kafka to the served release."""
    from jobs.stream.command import stream_events
    from jobs.stream.refreshing import refresh_by

    settings = settings_with(releases=releases, workspace=workspace, encoder=encoder)
    with _context(settings, "stream") as context:
        stream_events(settings.stream, refresh_by(context), until_caught_up=until_caught_up, console=err)


def _print_rejects(report: RefreshReport) -> None:
    """Print the first products that are no longer found, and the first rejected rows of a source of changes."""
    for lost in report.tally.lost[:_SHOWN_REJECTS]:
        line = f"No longer found: {lost['product_id']}: {lost['reason']}, {lost['detail']}"
        out.print(line, highlight=False, soft_wrap=True, markup=False)
    for product_id, reason, detail in report.faults[:_SHOWN_REJECTS]:
        line = f"Rejected {product_id or 'a row'}: {reason}, {detail}"
        out.print(line, highlight=False, soft_wrap=True, markup=False)


def _day(option: datetime | None) -> date | None:
    return option.date() if option else None


def _table() -> Table:
    table = Table(show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    return table

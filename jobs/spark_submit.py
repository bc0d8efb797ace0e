"""The application for spark-submit: `spark-submit jobs/spark_submit.py download|embed|index --workspace URL`.

Settings come from LOOKALIKE_ variables, and `--set name=value` overrides them. One line is printed for each finished
shard; a failure ends with one sentence and exit code 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from artifacts.errors import LookalikeError, StepFailed
from artifacts.settings import Settings
from jobs.download.refetch import Refetch, split_list
from jobs.download.shard import Retry
from jobs.download.step import run_download
from jobs.embed.step import run_embed
from jobs.index.parts import run_parts
from jobs.index.plan import read_plan
from jobs.spark.launcher import SparkLauncher
from jobs.steps import StepContext
from jobs.workspace.shards import ShardReport

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def run(
    step: Annotated[Literal["download", "embed", "index"], typer.Argument(help="The step to run.")],
    workspace: Annotated[str, typer.Option("--workspace", help="Folder or fsspec URL.")],
    shards: Annotated[
        str | None, typer.Option("--shards", help="Shards, such as 0-7,9; of index, parts. All by default.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; repeatable.")
    ] = None,
    retry: Annotated[
        Retry, typer.Option("--retry", help="download: which failures of unchanged shards are tried again.")
    ] = "transient",
    refetch: Annotated[
        str, typer.Option("--refetch", metavar="ID,ID", help="download: products fetched even if unchanged.")
    ] = "",
    refetch_categories: Annotated[
        str, typer.Option("--refetch-categories", metavar="NAME,NAME", help="download: all products of these, too.")
    ] = "",
    refetch_all: Annotated[
        bool, typer.Option("--refetch-all", help="download: every picture is fetched, even if unchanged.")
    ] = False,
) -> None:
    """Run a step of the pipeline on Spark."""
    config = replace(read_settings(assignments or []).pipeline, workspace=workspace)
    context = StepContext.open(config)
    chosen = parse_shards(shards, count_shards(context, step))
    context = replace(context, spark=SparkLauncher(f"lookalike {step}"), on_shard=_print_report)
    if step == "download":
        selection = Refetch.of(refetch or None, split_list(refetch_categories), all=refetch_all)
        selection.require_known(context.workspace)
        run_download(context, chosen, retry=retry, refetch=selection)
    elif step == "embed":
        run_embed(context, chosen)
    else:
        run_parts(context, chosen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the application; returns its exit code: 0, 1 for a failure, 2 for wrong arguments."""
    try:
        app(arguments, prog_name="spark_submit.py")
    except LookalikeError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def read_settings(assignments: Sequence[str]) -> Settings:
    """Return the settings of the environment, overridden by `name=value` texts.

    Raises:
        StepFailed: a text is not the name and value of a setting; the message names it.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        values[name] = value
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise StepFailed(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def count_shards(context: StepContext, step: str) -> int:
    """Return how many shards a step has, or parts if it is `index`.

    Raises:
        StepFailed: the parts have not been planned.
    """
    if step != "index":
        return context.workspace.shards
    plan = read_plan(context.workspace)
    if plan is None:
        raise StepFailed(f"{context.workspace.url}: the index is not planned; run the train step first")
    return len(plan.parts)


def parse_shards(text: str | None, shards: int) -> list[int]:
    """Return the shards that `0-7,9` names, in order; None means all.

    Raises:
        StepFailed: the text is of another form, or a shard is not in 0 … shards-1.
    """
    if text is None:
        return list(range(shards))
    chosen: set[int] = set()
    for part in text.split(","):
        bounds = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not bounds:
            raise StepFailed(f"--shards {text!r} is not like 0-7,9")
        chosen.update(range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1))
    if not chosen or max(chosen) >= shards:
        raise StepFailed(f"--shards {text!r}: there are only 0 to {shards - 1}")
    return sorted(chosen)


def _print_report(report: ShardReport) -> None:
    failed = ", ".join(f"{count} {reason}" for reason, count in report.failed.items()) or "none"
    work = "unchanged" if report.skipped else f"{report.reused} reused, {report.seconds:.1f} s"
    noun = "part" if report.step == "index" else "shard"
    print(
        f"{report.step} {noun} {report.shard} of {report.shards}: {report.rows} rows, {report.ok} ok, {work}, "
        f"failed: {failed}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

"""What spark-submit runs: `spark-submit jobs/spark_submit.py download|embed --workspace URL [--shards 0-7,9]`.

Settings come from LOOKALIKE_ variables, and `--set name=value` overrides them. One line is printed for each finished
shard; a failure ends with one sentence and exit code 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from artifacts.errors import LookalikeError, StepFailed
from artifacts.settings import Settings
from jobs.download.step import run_download
from jobs.embed.step import run_embed
from jobs.spark.session import session
from jobs.workspace import ShardReport, open_workspace


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="spark_submit.py", description="Run a step of the pipeline on Spark.")
    parser.add_argument("step", choices=["download", "embed"])
    parser.add_argument("--workspace", required=True, help="folder or fsspec URL")
    parser.add_argument("--shards", help="which shards, such as 0-7,9; all by default")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting; repeatable")
    parser.add_argument("--retry", choices=["transient", "all", "none"], default="transient",
                        help="download: which failures of unchanged shards are tried again")  # fmt: skip
    parser.add_argument("--refetch", default="", metavar="ID,ID", help="download: products fetched whatever is there")
    options = parser.parse_args(arguments)
    try:
        settings = read_settings(options.set)
        shards = parse_shards(options.shards, settings.shards)
        workspace = open_workspace(options.workspace, settings.shards)
        spark = session(f"lookalike {options.step}")
        if options.step == "download":
            refetch = frozenset(filter(None, options.refetch.split(",")))
            run_download(spark, workspace, settings, shards, _tell, retry=options.retry, refetch=refetch)
        else:
            run_embed(spark, workspace, settings, shards, _tell)
    except LookalikeError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def read_settings(assignments: Sequence[str]) -> Settings:
    """The settings of the environment, with `name=value` texts on top.

    Raises:
        StepFailed: a name or value that is not a setting's; the text says which.
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


def parse_shards(text: str | None, shards: int) -> list[int]:
    """`0-7,9` as numbers in order; None means all.

    Raises:
        StepFailed: the text is something else, or a shard is not in 0 … shards-1.
    """
    if text is None:
        return list(range(shards))
    chosen: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not found:
            raise StepFailed(f"--shards {text!r} is not like 0-7,9")
        chosen.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    if not chosen or max(chosen) >= shards:
        raise StepFailed(f"--shards {text!r}: there are shards 0 to {shards - 1}")
    return sorted(chosen)


def _tell(report: ShardReport) -> None:
    failed = ", ".join(f"{count} {reason}" for reason, count in report.failed.items()) or "none"
    took = "unchanged" if report.skipped else f"{report.reused} reused, {report.seconds:.1f} s"
    print(
        f"{report.step} shard {report.shard} of {report.shards}: {report.rows} rows, {report.ok} ok, {took}, "
        f"failed: {failed}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

"""The workspace's layout: every path that one step writes and another reads.

    <workspace>/
      workspace.json               number of shards; a workspace is never used with another
      spark.log                    output of the JVM and its workers, where the workspace is on this machine
      catalog/                     shards of products
        report.json                CatalogReport
        rejects.parquet            catalog rows that were not accepted, with the reason
      images/                      shards of pictures
      embeddings/<encoder>/        shards of vectors, one folder for each encoder
      candidate/                   the release that may be published next
        candidate.json             Candidate
        rejects.parquet            every catalog row that is not in the index, with the reason
        evaluation.json            measurements of the gate
        report.html                the same for people
      queries/                     the queries that a base was measured with, for its deltas, see jobs.evaluate
      sources/                     what refreshes know of each source, see jobs.refresh.memory
      refreshes/<name>/            what one refresh has downloaded and embedded, until a build has taken it over:
        workspace.json …           a workspace of its own, with its own number of shards and no refreshes

Names of refreshes sort by the time at which they began.

The files of a folder of shards are described in `jobs.workspace.shards`.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from artifacts.errors import StepFailed
from artifacts.storage import Folder
from jobs.workspace.shards import ShardFolder, ShardReport

CATALOG_REPORT = "report.json"
CATALOG_REJECTS = "rejects.parquet"

CANDIDATE = "candidate.json"
CANDIDATE_REJECTS = "rejects.parquet"
EVALUATION = "evaluation.json"
REPORT = "report.html"

SETTINGS = "workspace.json"
_REFRESHES = "refreshes"
#: Form of the time that the name of a refresh begins with, for strftime.
REFRESH_TIME = "%Y%m%dT%H%M%S%f"


@dataclass(frozen=True)
class Workspace:
    """A workspace and its number of shards; `open` and `existing` check the number against the recorded one.

    Attributes:
        url: folder, or any fsspec URL.
        shards: parts that each step's work is split in.
        main: the workspace that this one is a refresh of; None if it is not a refresh.
    """

    url: str
    shards: int
    main: Workspace | None = None

    @classmethod
    def open(cls, url: str, shards: int) -> Workspace:
        """Return the workspace at a URL, created if there is none; remembers its number of shards.

        Raises:
            StepFailed: the workspace was made with another number of shards, so its rows would be in other files.
        """
        recorded = _recorded_shards(Folder(url))
        if recorded and recorded != shards:
            raise StepFailed(
                f"workspace {url} was made with {recorded} shards, not {shards}: "
                f"set LOOKALIKE_SHARDS={recorded}, or name a new workspace"
            )
        if not recorded:
            Folder(url).write_text(SETTINGS, json.dumps({"shards": shards}) + "\n")
        return cls(url, shards)

    @classmethod
    def existing(cls, url: str) -> Workspace:
        """Return the workspace at a URL, with the number of shards that it was made with.

        Raises:
            StepFailed: there is no workspace.
        """
        recorded = _recorded_shards(Folder(url))
        if recorded is None:
            raise StepFailed(f"{url} is not a workspace: build there first, or name another with --workspace")
        return cls(url, recorded)

    @cached_property
    def folder(self) -> Folder:
        return Folder(self.url)

    @property
    def catalog(self) -> ShardFolder:
        """Products: `catalog_schema`, sorted by product_id."""
        return ShardFolder("catalog", self.folder / "catalog", self.shards)

    @property
    def images(self) -> ShardFolder:
        """Pictures: `IMAGES`, sorted by (product_id, picture)."""
        return ShardFolder("download", self.folder / "images", self.shards)

    def embeddings(self, encoder_slug: str) -> ShardFolder:
        """Vectors of one encoder: `embeddings_schema`, sorted by the sha256 of their picture."""
        return ShardFolder("embed", self.folder / "embeddings" / encoder_slug, self.shards)

    def all_embeddings(self) -> list[ShardFolder]:
        """Return the vectors of every encoder that has been used."""
        return [self.embeddings(slug) for slug in self.folder.names("embeddings")]

    def step_reports(self, step: str) -> list[ShardReport]:
        """Return the shard reports that a step has written, for every encoder if the step is `embed`.

        Args:
            step: download or embed; any other step has none.
        """
        folders = {"download": [self.images], "embed": self.all_embeddings()}.get(step, [])
        return [report for folder in folders for shard in range(folder.shards) if (report := folder.report(shard))]

    @property
    def candidate(self) -> Folder:
        """The release that may be published next: CANDIDATE, CANDIDATE_REJECTS, EVALUATION, REPORT."""
        return self.folder / "candidate"

    # ── refreshes ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        """The last part of the URL, which names a refresh."""
        return self.folder.root.rstrip("/").rsplit("/", 1)[-1]

    def refresh(self, name: str, shards: int) -> Workspace:
        """Return the workspace of a refresh of this one, created if there is none.

        Args:
            name: sorts after the names of earlier refreshes.

        Raises:
            StepFailed: it was made with another number of shards.
        """
        opened = Workspace.open((self.folder / _REFRESHES / name).url, shards)
        return replace(opened, main=self)

    def refreshes(self) -> list[Workspace]:
        """Return the refreshes of this workspace, oldest first; for a refresh, the others of its main workspace."""
        main = self.main or self
        found: list[Workspace] = []
        for name in main.folder.names(_REFRESHES):
            folder = main.folder / _REFRESHES / name
            shards = _recorded_shards(folder)
            if shards is not None and not (self.main and name == self.name):
                found.append(Workspace(folder.url, shards, main))
        return found

    # ── this machine ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def spark_log(self) -> Path:
        """A file on this machine for the output of Spark's processes."""
        folder = self.folder.local() if self.folder.is_local else Path(tempfile.gettempdir())
        return folder / "spark.log"

    def __reduce__(self) -> tuple[type[Workspace], tuple[str, int, Workspace | None]]:
        # Tasks run in another working directory: a relative path would lead elsewhere there.
        return Workspace, (self.folder.root if self.folder.is_local else self.url, self.shards, self.main)


def _recorded_shards(folder: Folder) -> int | None:
    return json.loads(folder.read_text(SETTINGS))["shards"] if folder.exists(SETTINGS) else None

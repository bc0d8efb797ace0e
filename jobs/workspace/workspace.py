"""The workspace's layout: every path that one step writes and another reads.

    <workspace>/
      workspace.json               number of shards; a workspace is never used with another
      spark.log                    output of the JVM and its workers, where the workspace is on this machine
      catalog/                     shards of products
        report.json                CatalogReport
        rejects.parquet            catalog rows that were not accepted, with the reason
      images/                      shards of pictures
      embeddings/<encoder>/        shards of vectors, one folder for each encoder
      index/                       the segment that is being built
        plan.json                  IndexPlan: its parts
        <segment>/                 what tasks have recorded of its parts, see jobs.index.parts; kept for some days
      quantizers/                  trained quantizers, by sha256, see jobs.index.quantizers
      candidate/                   the release that may be published next
        candidate.json             Candidate
        rejects.parquet            every catalog row that is not in the index, with the reason
        evaluation.json            measurements of the gate
        report.html                the same for people
      queries/                     the queries that a base was measured with, for its deltas, see jobs.evaluate
      recheck.json                 the shard whose pictures a refresh has asked for again, see jobs.refresh.recheck
      sources/                     what refreshes know of each source, see jobs.refresh.memory
      refreshes/<name>/            what one refresh has downloaded and embedded, or several of them: see jobs.kept
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
from typing import Any

from artifacts.errors import StepFailed
from artifacts.storage import Folder
from jobs.workspace.shards import ShardFolder, ShardReport

CATALOG_REPORT = "report.json"
CATALOG_REJECTS = "rejects.parquet"

INDEX_PLAN = "plan.json"

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
        newest: so many of the newest refreshes may have what this workspace lacks; None if all may have it.
    """

    url: str
    shards: int
    main: Workspace | None = None
    newest: int | None = None

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
            _write_settings(Folder(url), shards)
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
            step: download, embed or index; any other step has none.
        """
        folders = {"download": [self.images], "embed": self.all_embeddings(), "index": self._all_parts()}.get(step, [])
        return [report for folder in folders for shard in range(folder.shards) if (report := folder.report(shard))]

    def _all_parts(self) -> list[ShardFolder]:
        """Return the parts of every segment that is being built; their number is that of the files."""
        folders = []
        for segment_id in (name for name in self.index.names() if name != INDEX_PLAN):
            reports = [name for name in self.index.names(segment_id) if name.startswith("shard-")]
            folders.append(self.index_parts(segment_id, len(reports)))
        return folders

    @property
    def index(self) -> Folder:
        """The segment that is being built: INDEX_PLAN, and a folder for each segment."""
        return self.folder / "index"

    def index_parts(self, segment_id: str, parts: int) -> ShardFolder:
        """The products of each part of a segment that are not in the index: `REJECTS`."""
        return ShardFolder("index", self.index / segment_id, parts, noun="part")

    @property
    def quantizers(self) -> Folder:
        """Trained quantizers, see `jobs.index.quantizers`."""
        return self.folder / "quantizers"

    @property
    def candidate(self) -> Folder:
        """The release that may be published next: CANDIDATE, CANDIDATE_REJECTS, EVALUATION, REPORT."""
        return self.folder / "candidate"

    # ── refreshes ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        """The last part of the URL, which names a refresh."""
        return self.folder.root.rstrip("/").rsplit("/", 1)[-1]

    def refresh(self, name: str, shards: int, newest: int | None = None) -> Workspace:
        """Return the workspace of a refresh of this one, created if there is none.

        Args:
            name: sorts after the names of earlier refreshes.
            newest: see the attribute.

        Raises:
            StepFailed: it was made with another number of shards.
        """
        opened = Workspace.open((self.folder / _REFRESHES / name).url, shards)
        return replace(opened, main=self, newest=newest)

    def refresh_names(self) -> list[str]:
        """Return the names of the refreshes, oldest first; `find_refresh` may not find all of them."""
        return self.folder.names(_REFRESHES)

    def find_refresh(self, name: str) -> Workspace | None:
        """Return a refresh of this workspace; None if there is none of that name."""
        folder = self.folder / _REFRESHES / name
        shards = _recorded_shards(folder)
        return None if shards is None else Workspace(folder.url, shards, self)

    @property
    def has_ended(self) -> bool:
        """Whether this is a refresh that no longer needs its workspace."""
        return bool((_settings(self.folder) or {}).get("ended"))

    def mark(self, *, ended: bool) -> None:
        """Record whether a refresh still needs its workspace, or begins to need it again."""
        _write_settings(self.folder, self.shards, ended=ended)

    # ── this machine ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def spark_log(self) -> Path:
        """A file on this machine for the output of Spark's processes."""
        folder = self.folder.local() if self.folder.is_local else Path(tempfile.gettempdir())
        return folder / "spark.log"

    def __reduce__(self) -> tuple[type[Workspace], tuple[str, int, Workspace | None, int | None]]:
        # Tasks run in another working directory: a relative path would lead elsewhere there.
        url = self.folder.root if self.folder.is_local else self.url
        return Workspace, (url, self.shards, self.main, self.newest)


def _settings(folder: Folder) -> dict[str, Any] | None:
    """Return a workspace's settings; None if the folder is no workspace."""
    try:
        return json.loads(folder.read_text(SETTINGS))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _recorded_shards(folder: Folder) -> int | None:
    settings = _settings(folder)
    return None if settings is None else settings["shards"]


def _write_settings(folder: Folder, shards: int, *, ended: bool = False) -> None:
    folder.write_text(SETTINGS, json.dumps({"shards": shards} | ({"ended": True} if ended else {})) + "\n")

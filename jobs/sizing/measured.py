"""What `lookalike bench build` has measured of one index: the points that the model is fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from artifacts.errors import InputError

#: Measurements of one machine; see docs/benchmarks.md.
_BUNDLED = Path(__file__).parent / "measured.json"


@dataclass(frozen=True)
class Usage:
    """What one stage took.

    Attributes:
        seconds: wall time.
        core_seconds: of all threads.
        peak_mb: most memory that the process had of its own; pages of mapped files, which others share, not included.
    """

    seconds: float
    core_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class PartsRun:
    """The parts of the segment, written by so many tasks at once, each on one core."""

    tasks: int
    seconds: float
    core_seconds: float  # of all tasks
    vectors_per_second: float
    peak_mb: float  # of the largest task


@dataclass(frozen=True)
class SearchCost:
    """Searches for the best hundred, one by one on one core, at the cheapest parameters that reach the target."""

    modality: str
    nprobe: int
    rescore: int
    recall_at_100: float
    core_ms: float  # mean, of a core


@dataclass(frozen=True)
class Measured:
    """All that was measured of one index.

    Attributes:
        factory: FAISS factory string.
        parts: number of parts.
        lists: IVF lists.
        train_rows: vectors that were trained on.
        runs: with each number of tasks, ascending.
        resident_bytes: of the index files and lists, a vector.
        disk_bytes: of the segment, a vector.
        searches: of the built index.
        shards: of the workspace; measurements that do not say it had 32.
    """

    rows: int
    dim: int
    factory: str
    parts: int
    codec: str
    lists: int
    train_rows: int
    train: Usage
    runs: list[PartsRun]
    seal: Usage
    resident_bytes: float
    disk_bytes: float
    searches: list[SearchCost]
    shards: int = 32

    @property
    def speedup(self) -> float:
        """How many times faster the most tasks are than the fewest."""
        return self.runs[-1].vectors_per_second / self.runs[0].vectors_per_second


_ONE = TypeAdapter(Measured)
_SEVERAL = TypeAdapter(list[Measured])


@cache
def bundled_points() -> tuple[Measured, ...]:
    """Return what was measured for the documentation."""
    return tuple(_SEVERAL.validate_json(_BUNDLED.read_bytes()))


def read_point(path: Path) -> Measured:
    """Return what `lookalike bench build --json` has written.

    Raises:
        InputError: the file cannot be read, or is of another benchmark.
    """
    try:
        return _ONE.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"--points {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"--points {path} is not of `lookalike bench build --json`: {field}: {first['msg']}") from None

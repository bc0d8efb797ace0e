"""Time of one request: how long each stage took, and when the deadline passes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from time import perf_counter

from artifacts.errors import Busy


@dataclass
class RequestTimer:
    """Measures the stages of one request and enforces its deadline.

    Args:
        deadline_seconds: time that the request may take.
        began: when the request arrived, by `time.perf_counter`.
        stages: milliseconds by stage.
    """

    deadline_seconds: float = math.inf
    began: float = field(default_factory=perf_counter)
    stages: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = self.began

    def mark(self, stage: str) -> None:
        """End a stage: the time since the last mark is added to it.

        Raises:
            Busy: the deadline has passed, so the answer would come too late.
        """
        now = perf_counter()
        self.stages[stage] = round(self.stages.get(stage, 0.0) + (now - self._last) * 1000, 3)
        self._last = now
        if now > self.expires:
            raise Busy(1)

    @property
    def expires(self) -> float:
        """When the deadline passes, by `time.perf_counter`."""
        return self.began + self.deadline_seconds

    @property
    def milliseconds(self) -> float:
        """Time since the request arrived."""
        return round((perf_counter() - self.began) * 1000, 3)

"""TODO."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from time import perf_counter

from artifacts.errors import Busy


@dataclass
class RequestTimer:
    """Milliseconds of the stages of one request, and its end.

    Args:
        seconds: that the request may take.
        began: when it came, by `time.perf_counter`.
    """

    seconds: float = math.inf
    began: float = field(default_factory=perf_counter)
    stages: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = self.began

    def mark(self, name: str) -> None:
        """The stage that ends now.

        Raises:
            Busy: the request's time is over. What comes next would be for nobody.
        """
        now = perf_counter()
        self.stages[name] = round(self.stages.get(name, 0.0) + (now - self._last) * 1000, 3)
        self._last = now
        if now > self.began + self.seconds:
            raise Busy(1)

    @property
    def milliseconds(self) -> float:
        return round((perf_counter() - self.began) * 1000, 3)

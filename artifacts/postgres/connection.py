"""A connection on which every call ends in time."""

from __future__ import annotations

import math
import time
from contextlib import suppress

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

#: Seconds that a server has for saying itself that the time is over, before its connection is given up.
_GRACE = 0.5


class Connection(psycopg.Connection[TupleRow]):
    """A connection that is closed if it still waits after a time: a server that hangs keeps no `statement_timeout`.

    Attributes:
        ends: that time, of `time.monotonic`.
    """

    ends = math.inf

    @property
    def milliseconds(self) -> int:
        """What is left of the time, at least 1, as `statement_timeout` takes it."""
        return max(1, round((self.ends - time.monotonic()) * 1000))

    def wait(self, gen: PQGen, interval: float = 0.1, timeout: float | None = None):
        gives_up = self.ends + _GRACE
        if timeout is None and gives_up < math.inf:
            timeout = max(0.0, gives_up - time.monotonic())
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.OperationalError:
            if time.monotonic() >= gives_up:
                self.close()
                with suppress(psycopg.Error):  # a pipeline's would go on sending when it is collected
                    gen.close()
            raise

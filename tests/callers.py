"""Callers of a server: threads that send requests over HTTP, one after another, and keep every answer."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.waiting import wait_until

#: Seconds between two requests of a caller, so that refusals, which take no time, do not become a load of their own.
_PAUSE = 0.02

#: Seconds after which an answer is no longer waited for.
_TIMEOUT = 60


@dataclass(frozen=True)
class Answer:
    """An answer to a request.

    Attributes:
        name: of the path.
        began, ended: when the request was sent and the answer had come, by `time.monotonic`.
        status: 0 if there was no answer; `body` says why then.
    """

    name: str
    began: float
    ended: float
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def __str__(self) -> str:
        return f"{self.name}: {self.status} after {self.seconds:.2f} s, {self.body[:500]!r}"


class Callers:
    """Threads that get the paths in turn, each on a connection of its own, during a block.

    Args:
        address: of the server, http://host:port.
        paths: by the names that their answers have.
        count: number of threads.

    Attributes:
        answers: in the order of their ends.
    """

    def __init__(self, address: str, paths: Mapping[str, str], count: int = 4) -> None:
        self._host, self._paths = urlsplit(address).netloc, dict(paths)
        self.answers: list[Answer] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(first,)) for first in range(count)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, status: int, names: Iterable[str], *, times: int = 3, seconds: float = 60) -> None:
        """Return once each of these paths has been answered with a status so often, to requests sent from now on."""
        names, now = set(names), time.monotonic()

        def lacking() -> set[str]:
            counts = Counter(each.name for each in list(self.answers) if each.status == status and each.began >= now)
            return {name for name in names if counts[name] < times}

        try:
            wait_until(lambda: not lacking(), seconds)
        except AssertionError as error:
            last = {each.name: str(each) for each in self.answers}
            raise AssertionError(f"not answered with {status}: {[last.get(name) for name in lacking()]}") from error

    def _call(self, first: int) -> None:
        """Get all paths again and again; `first` is the number of the one to begin with."""
        connection = http.client.HTTPConnection(self._host, timeout=_TIMEOUT)
        names = list(self._paths)
        for number in itertools.count(first):
            if self._stop.wait(_PAUSE):
                break
            name = names[number % len(names)]
            began = time.monotonic()
            try:
                connection.request("GET", self._paths[name])
                response = connection.getresponse()
                status, headers, body = response.status, dict(response.headers), response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()  # the next request makes another
                status, headers, body = 0, {}, repr(error).encode()
            self.answers.append(Answer(name, began, time.monotonic(), status, headers, body))
        connection.close()

"""Shows how far a long verb is: bars on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

#: Without a terminal, a step says where it is at most this often.
_LOG_SECONDS = 10.0


class Step(Protocol):
    """One step's progress."""

    def at(self, done: int, total: int | None = None) -> None:
        """So many units are done, of so many."""
        ...

    def note(self, text: str) -> None:
        """What came out, for the step's closing line."""
        ...


class Reporter:
    """Shows the steps of a verb, one after the other."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    @contextmanager
    def step(self, name: str, unit: str = "shards") -> Iterator[Step]:
        """Shows one step while the block runs, and a closing line with its time when it ends well."""
        began = time.monotonic()
        shown: _BarStep | _LogStep
        if self.console.is_terminal:
            columns = (TextColumn("{task.description:<10}"), BarColumn(30), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"), TimeElapsedColumn())  # fmt: skip  # noqa: E501
            with Progress(*columns, console=self.console, transient=True) as progress:
                shown = _BarStep(progress, progress.add_task(name, total=None, unit=unit))
                yield shown
        else:
            shown = _LogStep(self.console, name, unit)
            yield shown
        seconds = time.monotonic() - began
        self.console.print(f"[green]✓[/] {name:<10} {seconds:6.1f} s  {shown.text}", highlight=False)


class _BarStep:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task, self.text = progress, task, ""

    def at(self, done: int, total: int | None = None) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def note(self, text: str) -> None:
        self.text = text


class _LogStep:
    def __init__(self, console: Console, name: str, unit: str) -> None:
        self._console, self._name, self._unit, self.text = console, name, unit, ""
        self._said = time.monotonic()

    def at(self, done: int, total: int | None = None) -> None:
        if time.monotonic() - self._said >= _LOG_SECONDS:
            self._said = time.monotonic()
            of = f" of {total}" if total else ""
            self._console.print(f"  {self._name}: {done}{of} {self._unit}", highlight=False)

    def note(self, text: str) -> None:
        self.text = text

"""Shows the progress of a long-running verb: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

#: Without a terminal, a step prints its progress at most this often.
_LOG_SECONDS = 10.0


class Step(Protocol):
    """The progress of one step."""

    def at(self, done: int, total: int | None = None) -> None:
        """Report the number of units done, and of all units if it is known."""
        ...

    def note(self, text: str) -> None:
        """Set the text of the step's closing line: its outcome."""
        ...


class Reporter:
    """Shows the steps of a verb, one after the other."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    @contextmanager
    def step(self, name: str, unit: str = "shards") -> Iterator[Step]:
        """Show a step while the block runs; when it ends without an error, print a closing line with its duration."""
        began = time.monotonic()
        step: _BarStep | _LogStep
        if self.console.is_terminal:
            with _progress_bar(self.console) as progress:
                step = _BarStep(progress, progress.add_task(name, total=None, unit=unit))
                yield step
        else:
            step = _LogStep(self.console, name, unit)
            yield step
        seconds = time.monotonic() - began
        self.console.print(f"[green]✓[/] {name:<10} {seconds:6.1f} s  {step.text}", highlight=False)


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


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
        self._printed_at = time.monotonic()

    def at(self, done: int, total: int | None = None) -> None:
        if time.monotonic() - self._printed_at >= _LOG_SECONDS:
            self._printed_at = time.monotonic()
            of_total = f" of {total}" if total else ""
            self._console.print(f"  {self._name}: {done}{of_total} {self._unit}", highlight=False)

    def note(self, text: str) -> None:
        self.text = text


#: Shows nothing.
QUIET = Reporter(Console(quiet=True, stderr=True))

"""Starts Spark for the first step that needs it, and not before: a JVM takes seconds, and pyspark's import one more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkLauncher:
    """A Spark session that is created when it is called for.

    Args:
        app: the application's name in Spark.
        log: file for the output of Spark's processes; see `jobs.spark.session.session`.
    """

    def __init__(self, app: str, *, log: Path | None = None) -> None:
        self._app, self._log = app, log
        self._session: SparkSession | None = None

    def __call__(self) -> SparkSession:
        """Return the session, started if it has not been.

        Raises:
            StepFailed: there is no Java to run it.
        """
        if self._session is None:
            from jobs.spark.session import session

            self._session = session(self._app, log=self._log)
        return self._session

    def stop(self) -> None:
        """Stop the session, if it was started, and free its memory."""
        if self._session is not None:
            self._session.stop()
            self._session = None

"""The parts of a running server, as one typed object that an app carries."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, current_app

from artifacts.config import QueryLimits
from serving.events.log import EventLog
from serving.overload.admission import AdmissionController
from serving.overload.shedding import LoadShedder
from serving.releases.watcher import ReleaseWatcher
from serving.search.service import SearchService

_EXTENSION = "lookalike"


@dataclass(frozen=True)
class Services:
    """What the routes and the server's hooks work with."""

    watcher: ReleaseWatcher
    admission: AdmissionController
    load_shedder: LoadShedder
    events: EventLog
    search: SearchService
    limits: QueryLimits
    deadline_seconds: float

    def close(self) -> None:
        """Write out what is pending and release what is open; for the end of a process."""
        self.events.close()
        self.search.close()
        self.watcher.close()


def install(app: Flask, services: Services) -> None:
    """Give an app its services."""
    app.extensions[_EXTENSION] = services


def services_of(app: Flask) -> Services:
    """Return the services of an app that `create_app` made."""
    return app.extensions[_EXTENSION]


def services() -> Services:
    """Return the services of the app that handles the current request."""
    return services_of(current_app)

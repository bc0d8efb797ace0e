"""What the routes share: the app's own things, answers in JSON, and the errors that the OpenAPI document names."""

from __future__ import annotations

from flask import current_app

from artifacts.settings import Settings
from serving.cache import Caches
from serving.events.log import EventLog
from serving.overload.admission import AdmissionController
from serving.releases.watcher import ReleaseWatcher
from serving.search.rankers import Ranker


def settings() -> Settings:
    return current_app.config["LOOKALIKE_SETTINGS"]


def events() -> EventLog:
    return current_app.config["LOOKALIKE_EVENTS"]


def gate() -> AdmissionController:
    return current_app.config["LOOKALIKE_GATE"]


def watcher() -> ReleaseWatcher:
    return current_app.config["LOOKALIKE_WATCHER"]


def ranker() -> Ranker:
    return current_app.config["LOOKALIKE_RANKER"]


def caches() -> Caches:
    return current_app.config["LOOKALIKE_CACHES"]

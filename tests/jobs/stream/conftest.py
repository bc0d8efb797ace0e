"""A broker for all tests, and topics and a group for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from artifacts.config import StreamConfig
from artifacts.settings import Settings
from tests.jobs.stream.recorder import Recorder
from tests.kafka import KafkaBroker

ROOT = Path(__file__).parent.parent.parent.parent
#: A member that died is missed after four seconds, not after 45. The mock lets members join after three: with less than
#: that, none ever does.
OPTIONS = {"session.timeout.ms": "4000", "heartbeat.interval.ms": "500", "fetch.wait.max.ms": "50"}


@pytest.fixture(scope="session")
def running_broker() -> Iterator[KafkaBroker]:
    with KafkaBroker() as broker:
        yield broker


@dataclass
class Stream:
    """Topics, a group and a recorder of one test."""

    broker: KafkaBroker
    config: StreamConfig
    recorder: Recorder
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def topic(self) -> str:
        return self.config.kafka_topics[0]

    @property
    def lag(self) -> int:
        return sum(
            self.broker.lag(self.config.kafka_group, topic) for topic in (self.topic, self.config.kafka_retry_topic)
        )

    def changed(self, **values: Any) -> StreamConfig:
        return replace(self.config, **values)

    def start(self, mode: str = "bounded", point: str = "", **settings: Any) -> subprocess.Popen[bytes]:
        """Start a stream as a process of its own."""
        values = {
            "kafka_servers": self.broker.servers,
            "kafka_topics": self.topic,
            "kafka_group": self.config.kafka_group,
            "kafka_retry_topic": self.config.kafka_retry_topic,
            "kafka_dead_letter_topic": self.config.kafka_dead_letter_topic,
            "kafka_options": json.dumps(OPTIONS),
            "stream_batch_seconds": 0.2,
            **settings,
        }
        variables = {f"LOOKALIKE_{name.upper()}": str(value) for name, value in values.items()}
        command = [sys.executable, "-m", "tests.jobs.stream.worker", str(self.folder), mode, *point.split()]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **variables, "PYTHONPATH": path}
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
        self.processes.append(process)
        return process

    @property
    def log(self) -> str:
        """What all processes have written."""
        return (self.folder / "log").read_text()


@pytest.fixture
def new_stream(running_broker: KafkaBroker, tmp_path: Path) -> Iterator[Callable[[], Stream]]:
    """Makes streams that know nothing of each other."""
    made: list[Stream] = []

    def make() -> Stream:
        name = uuid.uuid4().hex[:8]
        config = replace(
            Settings().stream,
            kafka_servers=running_broker.servers,
            kafka_topics=(f"{name}-events",),
            kafka_group=name,
            kafka_retry_topic=f"{name}-retry",
            kafka_dead_letter_topic=f"{name}-dead",
            kafka_options=OPTIONS,
            stream_batch_seconds=0.2,
        )
        running_broker.make_topics(config.kafka_topics[0], config.kafka_retry_topic, config.kafka_dead_letter_topic)
        made.append(Stream(running_broker, config, Recorder(tmp_path / name), tmp_path / name))
        return made[-1]

    yield make
    for process in [process for stream in made for process in stream.processes]:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def stream(new_stream: Callable[[], Stream]) -> Stream:
    return new_stream()

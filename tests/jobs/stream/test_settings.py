"""The stream's settings: what they become, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from artifacts.errors import StreamFailed
from artifacts.settings import Settings
from jobs.stream.kafka.consumer import EventConsumer


def consumer(**changes: Any) -> EventConsumer:
    config = replace(Settings().stream, **{"kafka_servers": "127.0.0.1:1", **changes})
    return EventConsumer(config, warn=lambda line: None)


def test_topics_and_options_are_read_from_their_texts() -> None:
    config = Settings(kafka_topics="products, prices,", kafka_options='{"a": "b", "c": 1, "d": true}').stream
    assert config.kafka_topics == ("products", "prices")
    assert config.kafka_options == {"a": "b", "c": "1", "d": "true"}


@pytest.mark.parametrize("options", ["[]", "secret", '{"a": {"b": 1}}'])
def test_options_that_are_no_object_are_refused_without_repeating_them(options: str) -> None:
    with pytest.raises(ValidationError, match="is not a JSON object") as error:
        Settings(kafka_options=options)
    assert "secret" not in error.value.errors()[0]["msg"]


def test_password_in_the_options_is_not_shown() -> None:
    settings = Settings(kafka_options='{"sasl.password": "hidden"}')
    assert "hidden" not in f"{settings!r}{settings.stream!r}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kafka_servers": ""}, "set LOOKALIKE_KAFKA_SERVERS"),
        ({"kafka_topics": ("product-events-retry",)}, "different topics"),
        ({"kafka_topics": ()}, "different topics"),
        ({"kafka_options": {"enable.auto.commit": "true"}}, "may not set enable.auto.commit"),
        ({"kafka_options": {"no.such.option": "1"}}, "kafka_options: .*no.such.option"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StreamFailed, match=message):
        consumer(**changes)


def test_brokers_that_do_not_answer_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.stream.kafka.consumer.ANSWER_SECONDS", 0.2)
    silent = consumer(kafka_options={"log_level": "0"})
    with pytest.raises(StreamFailed, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        silent.open()
    silent.close()


@pytest.mark.parametrize(
    ("options", "few"), [({}, True), ({"reconnect.backoff.ms": "10", "reconnect.backoff.max.ms": "10"}, False)]
)
def test_broker_that_cannot_be_reached_is_tried_once_a_second_unless_the_options_say_otherwise(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str], few: bool
) -> None:
    monkeypatch.setattr("jobs.stream.kafka.consumer.ANSWER_SECONDS", 1.0)
    warnings: list[str] = []
    config = replace(Settings().stream, kafka_servers="127.0.0.1:1", kafka_options={"log_level": "0", **options})
    silent = EventConsumer(config, warn=warnings.append)
    with pytest.raises(StreamFailed, match="no Kafka broker answers"):
        silent.open()
    silent.keep_alive()
    silent.close()
    assert (sum("Connection refused" in line for line in warnings) <= 4) == few

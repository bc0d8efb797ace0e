"""Which of librdkafka's errors pass, and which belong to a rebalance; which of its options have another default here,
and which a user may not set.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from artifacts.config import StreamConfig
from artifacts.errors import StreamFailed

#: A commit that is refused for these belongs to a generation of the group that has ended. That is no fault.
REJECTED_COMMITS = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._STATE,
    }
)
#: Trying again does not help: a person has to change permissions or credentials.
FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
#: Errors of brokers that are away for a while, for which `KafkaError.retriable` is not always set.
_TRANSIENT = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._WAIT_COORD,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
    }
)
#: How long a client waits before it tries a broker again that cannot be reached: librdkafka's own default is so short
#: that it logs 40 lines a second. `kafka_options` may set other values.
RECONNECT_OPTIONS = {"reconnect.backoff.ms": 1_000, "reconnect.backoff.max.ms": 10_000}
#: Options that at-least-once delivery depends on, and those with a setting of their own.
_OWN_OPTIONS = frozenset(
    {
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.protocol",
        "metadata.broker.list",
        "partition.assignment.strategy",
    }
)


def error_of(exception: KafkaException) -> KafkaError:
    """Return the error that an exception of the library carries."""
    return exception.args[0]


def is_transient(error: KafkaError) -> bool:
    """Whether the same call may succeed a little later."""
    return not error.fatal() and (error.retriable() or error.code() in _TRANSIENT)


def check_options(config: StreamConfig) -> None:
    """Refuse settings that cannot work.

    Raises:
        StreamFailed: names the setting, and says what to do.
    """
    if not config.kafka_servers:
        raise StreamFailed("no Kafka brokers are named: set LOOKALIKE_KAFKA_SERVERS, such as kafka-1:9092,kafka-2:9092")
    names = [*config.kafka_topics, config.kafka_retry_topic, config.kafka_dead_letter_topic]
    if not config.kafka_topics or len(set(names)) < len(names):
        raise StreamFailed(
            f"kafka_topics, kafka_retry_topic and kafka_dead_letter_topic have to name different topics: {names}"
        )
    taken = sorted(_OWN_OPTIONS & set(config.kafka_options))
    if taken:
        raise StreamFailed(f"kafka_options may not set {', '.join(taken)}: the stream sets it itself; remove it")

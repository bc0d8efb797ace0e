"""Decides what becomes of the events of an applied batch that failed: another try, or a dead letter."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from artifacts.config import StreamConfig
from artifacts.schema import EXPECTED_REASONS, TRANSIENT_REASONS
from jobs.stream.batch import Batch, DeadLetter
from jobs.stream.events import Event
from jobs.stream.sink import AppliedChanges, Failure


@dataclass(frozen=True)
class Retry:
    """An event that is tried again.

    Attributes:
        attempt: how often it has been applied.
        not_before: seconds since 1970.
    """

    event: Event
    reason: str
    detail: str
    attempt: int
    not_before: float


@dataclass
class Failures:
    """The events of a batch that failed.

    Attributes:
        outcomes: product_id -> "retried", "dead_letter", or "inactive" for a product that the shop itself took out of
            the catalog, which is expected and no fault. Products that are not named were applied.
    """

    retries: list[Retry] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)


def sort_failures(batch: Batch, applied: AppliedChanges, config: StreamConfig, now: float) -> Failures:
    """Sort the failures that the refresh path reports for a batch.

    An event with a failure that may pass is tried again, with all of its pictures, until it has no tries left. Every
    other event that failed is a dead letter, with the reason of its first failure and the details of all.

    Args:
        now: seconds since 1970.
    """
    by_product: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in [*applied.rejects, *applied.pictures_failed]:
        by_product[failure[0]].append(failure)
    sorted_failures = Failures()
    for product_id, failures in by_product.items():
        event = batch.events.get(product_id)
        if event is not None:  # the refresh path may report products of earlier batches, too
            _sort(event, failures, config, now, sorted_failures)
    return sorted_failures


def _sort(event: Event, failures: list[Failure], config: StreamConfig, now: float, result: Failures) -> None:
    if all(reason in EXPECTED_REASONS for _, reason, _ in failures):
        result.outcomes[event.product_id] = "inactive"
        return
    transient = [failure for failure in failures if failure[1] in TRANSIENT_REASONS]
    attempt = event.record.attempt + 1
    chosen = transient if transient and attempt <= config.stream_retries else failures
    reason, detail = chosen[0][1], "; ".join(dict.fromkeys(each for _, _, each in chosen))
    if chosen is transient:
        wait = config.stream_retry_seconds * 2 ** (attempt - 1)
        result.outcomes[event.product_id] = "retried"
        result.retries.append(Retry(event, reason, detail, attempt, now + wait))
    else:
        result.outcomes[event.product_id] = "dead_letter"
        result.dead_letters.append(DeadLetter(event.record, reason, detail))

from __future__ import annotations

import threading

import numpy as np
import pytest

from artifacts.engines.loading import first_missing_row, write_batches
from tests.waiting import wait_until


def test_batches_are_read_only_as_fast_as_they_are_written() -> None:
    released, read = threading.Event(), []

    def batches():
        for number in range(10):
            read.append(number)
            yield number

    def write(number: int) -> int:
        released.wait(30)
        return number

    done: list[int] = []
    thread = threading.Thread(target=lambda: done.extend(write_batches(write, batches(), writers=3)))
    thread.start()
    wait_until(lambda: len(read) == 4)  # the fourth is read and waits for the first to be written
    released.set()
    thread.join(30)
    assert done == list(range(10))


def test_first_error_of_a_batch_is_raised_and_no_further_batch_is_written() -> None:
    written: list[int] = []

    def write(number: int) -> int:
        if number == 2:
            raise ValueError("batch 2")
        written.append(number)
        return number

    with pytest.raises(ValueError, match="batch 2"):
        list(write_batches(write, range(100), writers=2))
    assert max(written) <= 4


@pytest.mark.parametrize("stored", [0, 1, 5, 9, 10])
def test_loading_goes_on_before_the_first_batch_that_may_be_missing(stored: int) -> None:
    rows = 95  # of ten batches, the last of 5

    def has(numbers: np.ndarray) -> np.ndarray:
        return numbers < stored * 10

    assert first_missing_row(has, rows, batch_rows=10, writers=2) == max(0, stored - 2) * 10


def test_gap_in_the_last_batches_in_flight_is_written_again() -> None:
    stored = np.ones(100, bool)
    stored[70:] = False
    stored[50:60] = False  # still in flight when the load was interrupted
    first = first_missing_row(lambda numbers: stored[numbers], 100, batch_rows=10, writers=2)
    assert first <= 50

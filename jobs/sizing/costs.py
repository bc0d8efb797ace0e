"""Costs as sums of a few terms whose factors are fitted to measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from artifacts.errors import InputError

_Case = TypeVar("_Case")


def nothing(case: object) -> float:
    """The known part of a cost of which no part is known."""
    return 0.0


class Cost(Generic[_Case]):
    """A cost that depends on a case, such as the sizes of an index.

    Args:
        name: of the cost, for errors.
        terms: returns what the cost grows with, none negative.
        measured: cases, and what was measured of each.
        known: returns the part of the cost that is not fitted.
    """

    def __init__(
        self,
        name: str,
        terms: Callable[[_Case], Sequence[float]],
        measured: Sequence[tuple[_Case, float]],
        known: Callable[[_Case], float] = nothing,
    ) -> None:
        self._name, self._terms, self._known = name, terms, known
        matrix = np.array([terms(case) for case, _ in measured], float)
        values = np.array([value for _, value in measured])
        fixed = np.array([known(case) for case, _ in measured])
        self._measured = matrix.any(axis=0)
        self._factors = _fit(matrix / values[:, None], 1 - fixed / values)

    def shares(self, case: _Case) -> np.ndarray:
        """Return what each term adds to the cost, float64[terms].

        Raises:
            InputError: a term that the case has was 0 in all measurements.
        """
        terms = np.array(self._terms(case), float)
        if (terms > 0)[~self._measured].any():
            raise InputError(f"{self._name}: no measurement tells what this index costs; give --points of such indexes")
        return terms * self._factors

    def __call__(self, case: _Case) -> float:
        """Return the cost of a case.

        Raises:
            InputError: as in `shares`.
        """
        return self._known(case) + float(self.shares(case).sum())


def _fit(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return factors, none negative, for which matrix · factors is nearest to the target.

    A term that would get a negative factor is left out; so the factors are those of non-negative least squares, except
    in cases with several such terms, where they may be slightly worse.
    """
    factors, scale = np.zeros(matrix.shape[1]), np.abs(matrix).max(axis=0)
    used = np.flatnonzero(scale)
    while len(used):
        found = np.linalg.lstsq(matrix[:, used] / scale[used], target, rcond=None)[0]
        if (found >= 0).all():
            factors[used] = found / scale[used]
            break
        used = np.delete(used, int(found.argmin()))
    return factors

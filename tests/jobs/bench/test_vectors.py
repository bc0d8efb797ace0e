"""Drawn vectors are distributed like CLIP's."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.bench.vectors import ClipLike

pytestmark = pytest.mark.server


def test_pictures_and_texts_lie_in_two_cones() -> None:
    space = ClipLike(64, 0)
    pictures, texts = next(space.pictures(500, 1)), space.texts(500, 2)
    within = (pictures.vectors @ pictures.vectors.T).mean()
    across = (texts.vectors @ pictures.vectors.T).mean()
    assert within > 0.2
    assert across < within / 2


def test_pictures_of_one_category_are_more_similar() -> None:
    pictures = next(ClipLike(64, 0).pictures(500, 1))
    same = pictures.categories[:, None] == pictures.categories[None, :]
    cosines = pictures.vectors @ pictures.vectors.T
    assert cosines[same].mean() > cosines[~same].mean() + 0.1


def test_same_seed_gives_the_same_vectors() -> None:
    first, second = (next(ClipLike(64, 0).pictures(500, 1)) for _ in range(2))
    assert np.array_equal(first.vectors, second.vectors)

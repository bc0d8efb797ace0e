"""Random vectors that are distributed like CLIP's, for benchmarks that need more vectors than there are pictures.

A catalog consists of clusters in clusters (categories of Zipf-distributed sizes, styles within them) in a space of low
rank, which is rotated into `dim` dimensions. All pictures share a common direction, the narrow cone of CLIP's picture
vectors. Texts share another direction and are much noisier: they are close to no picture, and only the order of the
pictures around them matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_RANK = 96  # latent dimensions; their standard deviation falls as i^-0.35
_CATEGORIES = 200  # the k-th holds a share ~ 1/k
_STYLES = 25  # in each category

# Shares of the latent variance. With the cones and noises below: mean cosine of two pictures 0.43, of a picture and its
# nearest 0.94; of a text and its nearest picture 0.35 (512-d, among 60,000).
_CATEGORY, _STYLE, _ITEM = 0.45, 0.40, 0.15
_PICTURE_CONE, _PICTURE_NOISE = 0.85, 0.08
_TEXT_CONE, _TEXT_NOISE, _TEXT_BLUR = 1.0, 1.3, 0.35

#: Raise this number when the same seed no longer gives the same vectors or products.
RECIPE = 2

_BLOCK = 65_536


@dataclass(frozen=True)
class Drawn:
    """Vectors float32[n, dim], L2-normalised, and their categories, int64[n]."""

    vectors: np.ndarray
    categories: np.ndarray


class ClipLike:
    """A space to draw pictures and texts from; the same seed gives the same space."""

    def __init__(self, dim: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.dim, self._rank = dim, min(_RANK, dim // 2)
        std = np.arange(1, self._rank + 1) ** -0.35
        self._std = (std / np.linalg.norm(std)).astype(np.float32)
        basis = np.linalg.qr(random.standard_normal((dim, self._rank + 2)))[0].T.astype(np.float32)
        self._rotation, self._picture_cone, self._text_cone = basis[:-2], basis[-2], basis[-1]
        self._category_centres = self._latent(random, _CATEGORIES, _CATEGORY)
        self._style_centres = self._latent(random, _CATEGORIES * _STYLES, _STYLE).reshape(_CATEGORIES, _STYLES, -1)
        shares = 1 / np.arange(1, _CATEGORIES + 1)
        self._shares = shares / shares.sum()

    def _latent(self, random: np.random.Generator, count: int, variance: float) -> np.ndarray:
        normal = random.standard_normal((count, self._rank), np.float32)
        return normal * self._std * np.float32(np.sqrt(variance))

    def _items(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        categories = random.choice(_CATEGORIES, count, p=self._shares)
        styles = random.integers(0, _STYLES, count)
        centres = self._category_centres[categories] + self._style_centres[categories, styles]
        return centres + self._latent(random, count, _ITEM), categories

    def pictures(self, count: int, seed: int) -> Iterator[Drawn]:
        """Yield blocks of pictures, `count` in all."""
        random = np.random.default_rng(seed)
        for start in range(0, count, _BLOCK):
            latent, categories = self._items(random, min(_BLOCK, count - start))
            noise = random.standard_normal((len(latent), self.dim), np.float32) * (_PICTURE_NOISE / self.dim**0.5)
            yield Drawn(_normalized(latent @ self._rotation + _PICTURE_CONE * self._picture_cone + noise), categories)

    def texts(self, count: int, seed: int) -> Drawn:
        """Return texts about products that no picture shows."""
        random = np.random.default_rng(seed)
        latent, categories = self._items(random, count)
        latent = latent + self._latent(random, count, _TEXT_BLUR)
        noise = random.standard_normal((count, self.dim), np.float32) * (_TEXT_NOISE / self.dim**0.5)
        return Drawn(_normalized(latent @ self._rotation + _TEXT_CONE * self._text_cone + noise), categories)


def _normalized(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

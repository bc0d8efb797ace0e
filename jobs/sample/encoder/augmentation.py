"""Augmentation of the training data: variation of pictures, and unknown words in captions."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jobs.sample.encoder.recipe import CONTEXT, VOCABULARY


def augment_pictures(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Vary pictures as other cameras would: framing, exposure, colour cast and noise.

    Args:
        pictures: float[n, 3, h, w] in 0..1.
        generator: source of random numbers.

    Returns:
        Pictures of the same shape and range.
    """
    count = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand((count, *shape), generator=generator) * (high - low) + low

    zoom = uniform(0.78, 1.12, 1) * torch.cat([uniform(0.9, 1.1, 1), torch.ones(count, 1)], dim=1)
    turn, shift = uniform(-0.12, 0.12), uniform(-0.14, 0.14, 2)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(turn), torch.sin(turn)
    theta = torch.stack(
        [
            torch.stack([zoom[:, 0] * cos * mirror, -zoom[:, 1] * sin, shift[:, 0]], dim=1),
            torch.stack([zoom[:, 0] * sin * mirror, zoom[:, 1] * cos, shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    # A third keeps its framing: the catalog's own pictures are the most common case.
    unchanged = torch.rand(count, generator=generator) < 0.33
    theta[unchanged] = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    out = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    gain, cast, lift = uniform(0.8, 1.2, 1, 1, 1), uniform(0.95, 1.05, 3, 1, 1), uniform(-0.05, 0.05, 1, 1, 1)
    contrast = uniform(0.85, 1.15, 1, 1, 1)
    out = ((out - 0.5) * contrast + 0.5) * gain * cast + lift
    # All pictures of a batch share one noise field at different strengths: drawing one for each takes seconds.
    noise = torch.randn(out.shape[1:], generator=generator) * uniform(0, 0.03, 1, 1, 1)
    return (out + noise).clamp(0, 1)


def insert_unknown_words(tokens: Tensor, rng: np.random.Generator) -> Tensor:
    """Insert a random token into 15 % of the captions, in place, so that unknown words in a query do no harm.

    Args:
        tokens: int64[n, CONTEXT], padded with 0.
    """
    for row in np.flatnonzero(rng.random(len(tokens)) < 0.15).tolist():
        length = int((tokens[row] != 0).sum())
        if length < CONTEXT:
            position = int(rng.integers(1, length))
            tokens[row, position + 1 : length + 1] = tokens[row, position:length].clone()
            tokens[row, position] = int(rng.integers(1000, VOCABULARY - 2))
    return tokens

"""How the sample encoder learns: batches, variation, losses, the loop. Imported late, so that processes that only
draw never load torch.

Two losses share one image tower: picture and words of a product belong together, and so do two pictures of it. A
caption is never scored against another product it also describes: to push "red mug" away from every other red mug
would teach the wrong thing.
"""

import time
from collections.abc import Callable
from typing import cast

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from jobs.sample.encoder.pairs import TRAINING_SEED, labels
from jobs.sample.encoder.recipe import CONFIG, CONTEXT, VOCABULARY, Recipe
from jobs.sample.product import product
from jobs.sample.words import caption


def batch_of(rng: np.random.Generator, truth: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Row numbers, at most `size`. Most batches are alike in something, so that the rest has to be told apart: in
    kind, in colour, or in colour and pattern, which leaves only the shape."""
    style = float(rng.random())
    if style < 0.3:
        return rng.choice(len(truth), size, replace=False)
    kind, colour, pattern = truth[:, 0], truth[:, 2], truth[:, 3]
    if style < 0.45:
        group, groups = kind, 6
    elif style < 0.75:
        group, groups = colour, 2
    else:
        group, groups = colour * (pattern.max() + 1) + pattern, 4
    chosen = rng.choice(group.max() + 1, groups, replace=False)
    rows = np.flatnonzero(np.isin(group, chosen))
    return rng.choice(rows, min(size, len(rows)), replace=False)


def varied(pictures: Tensor, chance: torch.Generator) -> Tensor:
    """float[n, 3, h, w] in 0..1, as other cameras would take it: framing, exposure, colour cast, noise."""
    count = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand((count, *shape), generator=chance) * (high - low) + low

    zoom = uniform(0.78, 1.12, 1) * torch.cat([uniform(0.9, 1.1, 1), torch.ones(count, 1)], dim=1)
    turn, shift = uniform(-0.12, 0.12), uniform(-0.14, 0.14, 2)
    mirror = torch.where(torch.rand(count, generator=chance) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(turn), torch.sin(turn)
    theta = torch.stack(
        [
            torch.stack([zoom[:, 0] * cos * mirror, -zoom[:, 1] * sin, shift[:, 0]], dim=1),
            torch.stack([zoom[:, 0] * sin * mirror, zoom[:, 1] * cos, shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    # A third stays as it is: the catalog's own pictures are the commonest case.
    keep = torch.rand(count, generator=chance) < 0.33
    theta[keep] = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    out = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    gain, cast, lift = uniform(0.8, 1.2, 1, 1, 1), uniform(0.95, 1.05, 3, 1, 1), uniform(-0.05, 0.05, 1, 1, 1)
    contrast = uniform(0.85, 1.15, 1, 1, 1)
    out = ((out - 0.5) * contrast + 0.5) * gain * cast + lift
    # One sheet of noise for the whole batch, stronger here and weaker there: drawing one for each takes seconds.
    noise = torch.randn(out.shape[1:], generator=chance) * uniform(0, 0.03, 1, 1, 1)
    return (out + noise).clamp(0, 1)


def contrast(logits: Tensor, hidden: Tensor) -> Tensor:
    """InfoNCE both ways; `hidden` marks pairs that are neither right nor wrong."""
    logits = logits.masked_fill(hidden, -1e4)
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def build(recipe: Recipe) -> CLIP:
    torch.manual_seed(recipe.seed)
    model = CLIP(**CONFIG["model_cfg"])
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (not in torch's stubs)


def _embedding(model: CLIP) -> Tensor:
    """The table of word vectors, [VOCABULARY, width]."""
    return cast(torch.nn.Embedding, model.token_embedding).weight


def interrupted(tokens: Tensor, rng: np.random.Generator) -> Tensor:
    """Puts a word that means nothing into one caption of seven, so that unknown words in a query do no harm."""
    for row in np.flatnonzero(rng.random(len(tokens)) < 0.15).tolist():
        length = int((tokens[row] != 0).sum())
        if length < CONTEXT:
            place = int(rng.integers(1, length))
            tokens[row, place + 1 : length + 1] = tokens[row, place:length].clone()
            tokens[row, place] = int(rng.integers(1000, VOCABULARY - 2))
    return tokens


def fit(model: CLIP, pictures: NDArray[np.uint8], recipe: Recipe, say: Callable[[str], None]) -> dict[str, float]:
    """Trains in place; returns the last losses."""
    embedding = _embedding(model)
    rng, chance = np.random.default_rng(recipe.seed), torch.Generator().manual_seed(recipe.seed)
    products = [product(TRAINING_SEED, index) for index in range(len(pictures))]
    truth = labels(products)
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT)
    picture_scale = torch.nn.Parameter(torch.tensor(np.log(1 / 0.1), dtype=torch.float32))
    decayed = [p for p in model.parameters() if p.ndim >= 2 and p is not embedding]
    rest = [p for p in model.parameters() if p.ndim < 2] + [picture_scale]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": recipe.decay, "boost": 1.0},
            {"params": rest, "weight_decay": 0.0, "boost": 1.0},
            {"params": [embedding], "weight_decay": 0.0, "boost": recipe.word_boost},
        ],
        lr=recipe.rate,
        betas=(0.9, 0.98),
    )
    used = torch.zeros(VOCABULARY, dtype=torch.bool)
    mean: dict[str, float] = {}
    started = time.monotonic()
    for step in range(recipe.steps):
        share = step / recipe.steps
        rate = recipe.rate * min((step + 1) / recipe.warmup, 0.5 * (1 + np.cos(np.pi * share)) + 0.004)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["boost"]
        rows = batch_of(rng, truth, recipe.batch)
        captions = [caption(products[row], rng) for _ in range(recipe.captions) for row in rows]
        asked = torch.from_numpy(labels(captions)).view(recipe.captions, 1, len(rows), -1)
        given = torch.from_numpy(truth[rows])[:, None]
        same = torch.eye(len(rows), dtype=torch.bool)
        fits = ((asked == given) | (asked < 0)).all(dim=3) & ~same
        tokens = tokenizer([c.text for c in captions])
        used[tokens.unique()] = True
        tokens = interrupted(tokens, rng)
        both = torch.from_numpy(pictures[rows]).permute(1, 0, 4, 2, 3).flatten(0, 1).float().div_(255)
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            seen = model.encode_image((varied(both, chance) - 0.5) / 0.5)
            read = model.encode_text(tokens)
        seen, read = F.normalize(seen.float(), dim=1), F.normalize(read.float(), dim=1)
        first, second = seen.chunk(2)
        scale = model.logit_scale.exp().clamp(max=100)
        pairs = [
            contrast(scale * view @ text.T, hidden)
            for text, hidden in zip(read.chunk(recipe.captions), fits, strict=True)
            for view in (first, second)
        ]
        words = torch.stack(pairs).mean()
        views = contrast(picture_scale.exp().clamp(max=60) * first @ second.T, torch.zeros_like(same))
        loss = words + recipe.picture_weight * views
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for name, value in (("words", words), ("views", views)):
            mean[name] = 0.95 * mean.get(name, value.item()) + 0.05 * value.item()
        if step % 25 == 0 or step == recipe.steps - 1:
            say(
                f"step {step:4d} of {recipe.steps}  words {mean['words']:.3f}  views {mean['views']:.3f}  "
                f"{time.monotonic() - started:.0f} s"
            )
    with torch.no_grad():  # words no caption used stay silent: a zero vector says less than a random one
        embedding[~used] = 0.0
    return mean

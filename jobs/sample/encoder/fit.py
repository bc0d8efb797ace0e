"""The training loop of the sample encoder: batches, losses, optimizer. Needs torch, unlike the modules that only draw.

Two losses share one image tower: one between pictures and captions of a product, one between two pictures of it. A
caption is never scored against another product that it also describes: pushing "red mug" away from every other red mug
would train the wrong thing.
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

from jobs.sample.encoder.augmentation import augment_pictures, insert_unknown_words
from jobs.sample.encoder.recipe import CONFIG, CONTEXT, VOCABULARY, Recipe
from jobs.sample.encoder.training_data import TRAINING_SEED, labels
from jobs.sample.product import generate_product
from jobs.sample.words import caption


def build_model(recipe: Recipe) -> CLIP:
    """Build the untrained model; the recipe's seed decides its weights."""
    torch.manual_seed(recipe.seed)
    model = CLIP(**CONFIG["model_cfg"])
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (not in torch's stubs)


def fit(model: CLIP, pictures: NDArray[np.uint8], recipe: Recipe, log: Callable[[str], None]) -> dict[str, float]:
    """Train the model in place.

    Args:
        pictures: uint8[products, 2, side, side, 3], of the training seed's first products.
        log: called with a line of progress now and then.

    Returns:
        Moving averages of the losses: `words` between pictures and captions, `views` between pictures.
    """
    embedding = _word_vectors(model)
    rng, torch_rng = np.random.default_rng(recipe.seed), torch.Generator().manual_seed(recipe.seed)
    products = [generate_product(TRAINING_SEED, index) for index in range(len(pictures))]
    truth = labels(products)
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT)
    picture_scale = torch.nn.Parameter(torch.tensor(np.log(1 / 0.1), dtype=torch.float32))
    optimizer = _optimizer(model, picture_scale, recipe)
    used = torch.zeros(VOCABULARY, dtype=torch.bool)
    averages: dict[str, float] = {}
    started = time.monotonic()
    for step in range(recipe.steps):
        _set_learning_rate(optimizer, recipe, step)
        rows = _sample_batch(rng, truth, recipe.batch)
        captions = [caption(products[row], rng) for _ in range(recipe.captions) for row in rows]
        tokens = tokenizer([c.text for c in captions])
        used[tokens.unique()] = True
        tokens = insert_unknown_words(tokens, rng)
        both_views = torch.from_numpy(pictures[rows]).permute(1, 0, 4, 2, 3).flatten(0, 1).float().div_(255)
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            image_vectors = model.encode_image((augment_pictures(both_views, torch_rng) - 0.5) / 0.5)
            text_vectors = model.encode_text(tokens)
        image_vectors = F.normalize(image_vectors.float(), dim=1)
        text_vectors = F.normalize(text_vectors.float(), dim=1)
        first, second = image_vectors.chunk(2)
        words = _caption_loss(
            model.logit_scale.exp().clamp(max=100),
            (first, second),
            text_vectors.chunk(recipe.captions),
            _also_described(labels(captions).reshape(recipe.captions, len(rows), -1), truth[rows]),
        )
        nothing_hidden = torch.zeros((len(rows), len(rows)), dtype=torch.bool)
        views = _contrastive_loss(picture_scale.exp().clamp(max=60) * first @ second.T, nothing_hidden)
        loss = words + recipe.picture_weight * views
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for name, value in (("words", words), ("views", views)):
            averages[name] = 0.95 * averages.get(name, value.item()) + 0.05 * value.item()
        if step % 25 == 0 or step == recipe.steps - 1:
            log(
                f"step {step:4d} of {recipe.steps}  words {averages['words']:.3f}  views {averages['views']:.3f}  "
                f"{time.monotonic() - started:.0f} s"
            )
    with torch.no_grad():
        embedding[~used] = 0.0  # words of no caption: a zero vector is more neutral than a random one
    return averages


def _word_vectors(model: CLIP) -> Tensor:
    """Return the table of word vectors, float32[VOCABULARY, width]."""
    return cast(torch.nn.Embedding, model.token_embedding).weight


def _optimizer(model: CLIP, picture_scale: torch.nn.Parameter, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW: weight decay for matrices only, and a higher learning rate for word vectors."""
    embedding = _word_vectors(model)
    matrices = [p for p in model.parameters() if p.ndim >= 2 and p is not embedding]
    others = [p for p in model.parameters() if p.ndim < 2] + [picture_scale]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": recipe.decay, "boost": 1.0},
            {"params": others, "weight_decay": 0.0, "boost": 1.0},
            {"params": [embedding], "weight_decay": 0.0, "boost": recipe.word_boost},
        ],
        lr=recipe.rate,
        betas=(0.9, 0.98),
    )


def _set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Warm up linearly, then follow half a cosine."""
    share = step / recipe.steps
    rate = recipe.rate * min((step + 1) / recipe.warmup, 0.5 * (1 + np.cos(np.pi * share)) + 0.004)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["boost"]


def _sample_batch(rng: np.random.Generator, truth: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Draw at most `size` rows of `truth` for a batch.

    The products of most batches share an attribute, so that the model must tell the others apart: they share the kind,
    the colour, or colour and pattern, which leaves only the shape.
    """
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


def _also_described(caption_labels: NDArray[np.int64], truth: NDArray[np.int64]) -> Tensor:
    """Return which products a caption also describes, beside its own.

    Args:
        caption_labels: int64[captions, n, 4], of the captions of each product; -1 matches any value.
        truth: int64[n, 4], of the products.

    Returns:
        bool[captions, n, n].
    """
    requested = torch.from_numpy(caption_labels)[:, None]
    actual = torch.from_numpy(truth)[:, None]
    return ((requested == actual) | (requested < 0)).all(dim=3) & ~torch.eye(len(truth), dtype=torch.bool)


def _caption_loss(scale: Tensor, views: tuple[Tensor, ...], captions: tuple[Tensor, ...], hidden: Tensor) -> Tensor:
    """Return the mean contrastive loss of each caption with each view; see `_also_described` for `hidden`."""
    losses = [
        _contrastive_loss(scale * view @ text.T, hidden_pairs)
        for text, hidden_pairs in zip(captions, hidden, strict=True)
        for view in views
    ]
    return torch.stack(losses).mean()


def _contrastive_loss(logits: Tensor, hidden: Tensor) -> Tensor:
    """Return the symmetric InfoNCE loss (van den Oord et al., 2018) without the `hidden` pairs, both [n, n]."""
    logits = logits.masked_fill(hidden, -1e4)
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

"""Step 4a: plans the segment's parts, chooses its index, and trains the quantizer that all parts share.

A quantizer that the workspace has kept is used again while the vectors lie almost as near to its centroids as those did
that it was trained for: up to half of `max_drift`, so that a build that is advised for drift trains anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from artifacts.encoders.identity import EncoderIdentity, encoder_identity
from artifacts.index.choosing import IndexChoice, choose
from jobs.catalog.report import read_catalog_report
from jobs.index import quantizers
from jobs.index.built import discard_damaged
from jobs.index.plan import IndexPlan, count_rows, inputs_of, read_plan, rows_of, segment_id, split_parts
from jobs.index.sample import draw_sample
from jobs.steps import StepContext, StepResult
from jobs.workspace.fingerprints import Recorded, if_changed

_Result = TypeVar("_Result")

#: Vectors that tell whether a quantizer still fits: their mean cosine has a standard error of about 0.001.
_CHECK_ROWS = 16_384


def run_train(context: StepContext) -> StepResult[IndexPlan]:
    """Plan the candidate's segment, and train a quantizer unless one that fits is kept.

    Progress counts shards, and then the steps of training.

    Raises:
        StepFailed: an earlier step is not complete.
        InputError: the settings allow no index for these pictures.
        DeviceError: there is no such `index_device`.
        EncoderError: the encoder cannot be loaded.
    """
    config, workspace = context.config, context.workspace
    identity = encoder_identity(config.encoder.encoder, config.encoder.device, config.cache)
    inputs = inputs_of(workspace, identity, config)
    recorded = _recorded(context)
    if recorded is not None and recorded.fingerprint == inputs:
        discard_damaged(context, recorded.value.segment_id)
    outcome = if_changed(inputs, recorded, lambda: _plan(context, identity, inputs))
    plan = outcome.value
    count = len(plan.parts)
    note = f"{plan.rows:,} pictures, {plan.factory}, {count:,} part{'s' if count > 1 else ''}"
    if not outcome.changed:
        note += ", as before"
    elif plan.trained_similarity is not None:
        note += ", with a kept quantizer"
    return StepResult(outcome.changed, note, plan)


def _recorded(context: StepContext) -> Recorded[IndexPlan] | None:
    """Return the plan that was made last, if its quantizer is there."""
    plan = read_plan(context.workspace)
    if plan is None or (plan.quantizer and not quantizers.is_intact(context.workspace, plan.quantizer)):
        return None
    return Recorded(plan.inputs, plan)


def _plan(context: StepContext, identity: EncoderIdentity, inputs: str) -> IndexPlan:
    from artifacts.segments.index_writer import rows_per_part  # imports FAISS

    workspace, config = context.workspace, context.config.index
    read_at = read_catalog_report(workspace).read_at
    counts = count_rows(workspace, identity.slug)
    rows = sum(counts)
    choice = choose(rows, identity.dim, config)
    plan = IndexPlan(
        inputs, read_at, "", identity.id, identity.slug, identity.dim, rows, choice.codec, choice.factory, choice.lists,
        parts=split_parts(counts, rows_per_part(config) if choice.lists else None),
    )  # fmt: skip
    if choice.lists:
        quantizer = _fitting(context, identity, choice) or _train(context, identity, choice)
        plan = replace(
            plan,
            quantizer=quantizer.sha256,
            train_rows=quantizer.train_rows,
            trained_similarity=quantizer.similarity,
        )
    plan = replace(plan, segment_id=segment_id(rows_of(workspace, identity, context.config), plan))
    plan.save(workspace)
    return plan


def _fitting(context: StepContext, identity: EncoderIdentity, choice: IndexChoice) -> quantizers.Quantizer | None:
    """Return the newest kept quantizer of this kind, if it still fits; None if there is none."""
    from artifacts.index import build

    workspace, config = context.workspace, context.config
    for quantizer in quantizers.kept(workspace):
        if quantizer.similarity is None or not quantizers.is_intact(workspace, quantizer.sha256):
            continue
        if (quantizer.encoder_id, quantizer.factory, quantizer.seed) == (
            identity.id,
            choice.factory,
            config.index.seed,
        ):
            trained = quantizers.load(workspace, quantizer.sha256)
            cosines = _with_sample(context, identity, _CHECK_ROWS, partial(build.centroid_cosines, trained))
            drift = 1 - float(cosines.mean()) / quantizer.similarity
            return quantizer if drift <= config.max_drift / 2 else None
    return None


def _train(context: StepContext, identity: EncoderIdentity, choice: IndexChoice) -> quantizers.Quantizer:
    from artifacts.index import build
    from artifacts.index.devices.opening import open_device

    seed, device = context.config.index.seed, open_device(context.config.index.index_device)

    def train(sample: np.ndarray) -> quantizers.Quantizer:
        trained = build.train(choice.factory, identity.dim, sample, seed=seed, device=device, progress=context.progress)
        return quantizers.keep(context.workspace, trained, identity.id, choice.factory, seed, len(sample))

    return _with_sample(context, identity, choice.train_rows, train)


def _with_sample(
    context: StepContext, identity: EncoderIdentity, size: int, use: Callable[[np.ndarray], _Result]
) -> _Result:
    """Call `use` with vectors that are drawn from all shards."""
    embeddings, seed = context.workspace.embeddings(identity.slug), context.config.index.seed
    with tempfile.TemporaryDirectory(prefix="lookalike-") as scratch:
        path = Path(scratch) / "sample.f32"
        return use(draw_sample(embeddings, identity.dim, size, seed, path, context.progress))

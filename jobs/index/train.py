"""Step 4a: plans the segment's parts, chooses its index, and trains the quantizer that all parts share.

A quantizer that the workspace has kept is used again while the vectors lie almost as near to its centroids as those did
that it was trained for: up to half of `max_drift`, so that a build that is advised for drift trains anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from artifacts.encoders.identity import EncoderIdentity, encoder_identity
from artifacts.engines.reference import EngineRef
from artifacts.errors import CorruptFile
from artifacts.index.choosing import IndexChoice, choose
from jobs.catalog.report import read_catalog_report
from jobs.index import quantizers
from jobs.index.plan import IndexPlan, count_rows, engine_of, inputs_of, read_plan, rows_of, segment_id, split_parts
from jobs.index.sample import draw_sample
from jobs.steps import StepContext, StepResult
from jobs.workspace.fingerprints import Recorded, if_changed

if TYPE_CHECKING:
    import faiss

#: Vectors that tell whether a quantizer still fits: their mean cosine has a standard error of about 0.001.
_CHECK_ROWS = 16_384


def run_train(context: StepContext) -> StepResult[IndexPlan]:
    """Plan the candidate's segment, and train a quantizer unless one that fits is kept.

    Progress counts shards, and then the steps of training.

    Raises:
        StepFailed: an earlier step is not complete.
        InputError: the settings allow no index for these pictures.
        DeviceError: there is no such `index_device`, or a GPU that was named has failed.
        EncoderError: the encoder cannot be loaded.
    """
    config, workspace = context.config, context.workspace
    identity = encoder_identity(config.encoder.encoder, config.encoder.device, config.cache)
    inputs = inputs_of(workspace, identity, config)
    outcome = if_changed(inputs, _recorded(context), lambda: _plan(context, identity, inputs))
    plan = outcome.value
    context.store.segments.remove_damaged(plan.segment_id)
    count = len(plan.parts)
    note = f"{plan.rows:,} pictures, {plan.factory}, {count:,} part{'s' if count > 1 else ''}"
    if not outcome.changed:
        note += ", as before"
    elif plan.kept_quantizer:
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
    if engine := engine_of(context.config):
        return _plan_for_engine(context, identity, inputs, engine, counts)
    choice = choose(rows, identity.dim, config)
    plan = IndexPlan(
        inputs, read_at, "", identity.id, identity.slug, identity.dim, rows, choice.codec, choice.factory, choice.lists,
        parts=split_parts(counts, rows_per_part(config) if choice.lists else None),
    )  # fmt: skip
    if choice.lists:
        fitting = _fitting(context, identity, choice)
        quantizer = fitting or _train(context, identity, choice)
        plan = replace(
            plan,
            quantizer=quantizer.sha256,
            kept_quantizer=fitting is not None,
            train_rows=quantizer.train_rows,
            trained_similarity=quantizer.similarity,
        )
    plan = replace(plan, segment_id=segment_id(rows_of(workspace, identity, context.config), plan))
    plan.save(workspace)
    return plan


def _plan_for_engine(
    context: StepContext, identity: EncoderIdentity, inputs: str, engine: EngineRef, counts: Sequence[int]
) -> IndexPlan:
    """Plan a segment whose parts have no index. A setting that only says how it is loaded or searched changes no id."""
    from artifacts.engines.registry import engine_class

    workspace, config = context.workspace, context.config
    stored = engine_class(engine.kind).stored_options(engine.options)
    chosen = {name: value for name, value in engine.options.items() if name in stored}
    given = engine.model_copy(update={"options": chosen})
    plan = IndexPlan(
        inputs, read_catalog_report(workspace).read_at, "", identity.id, identity.slug, identity.dim, sum(counts),
        "engine", engine.kind, engine=given, parts=split_parts(counts, config.index.rows_per_index),
    )  # fmt: skip
    name = segment_id(rows_of(workspace, identity, config), plan)
    plan = replace(plan, segment_id=name, engine=engine.model_copy(update={"options": stored}))
    plan.save(workspace)
    return plan


def _fitting(context: StepContext, identity: EncoderIdentity, choice: IndexChoice) -> quantizers.Quantizer | None:
    """Return the newest kept quantizer that was trained as a new one would be, if it still fits; None without one."""
    workspace, config = context.workspace, context.config
    asked = (identity.id, choice.factory, config.index.seed, config.index.train_rows_per_list)
    for quantizer in quantizers.kept(workspace):
        if (quantizer.encoder_id, quantizer.factory, quantizer.seed, quantizer.rows_per_list) != asked:
            continue
        try:
            trained = quantizers.load(workspace, quantizer.sha256)
        except CorruptFile:
            continue
        drift = 1 - _check(context, identity, trained) / quantizer.check
        return quantizer if drift <= config.max_drift / 2 else None
    return None


def _train(context: StepContext, identity: EncoderIdentity, choice: IndexChoice) -> quantizers.Quantizer:
    from artifacts.index import build
    from artifacts.index.devices.opening import open_device

    config = context.config.index
    device = open_device(config.index_device)
    with _sample(context, identity, choice.train_rows, config.seed) as sample:
        rows = len(sample)
        trained, similarity = build.train(
            choice.factory, identity.dim, sample, seed=config.seed, device=device,
            overwrite_sample=True, progress=context.progress,
        )  # fmt: skip
    check = _check(context, identity, trained)

    def describe(sha256: str) -> quantizers.Quantizer:
        return quantizers.Quantizer(
            sha256,
            identity.id,
            choice.factory,
            config.seed,
            config.train_rows_per_list,
            rows,
            datetime.now(UTC),
            check,
            list_similarity=tuple(similarity.tolist()),
        )

    return quantizers.keep(context.workspace, trained, describe)


def _check(context: StepContext, identity: EncoderIdentity, trained: faiss.Index) -> float:
    """Return the mean cosine of vectors with the centroids of their lists, of distinct pictures of all shards."""
    from artifacts.index import build

    with _sample(context, identity, _CHECK_ROWS, context.config.index.seed + 1) as sample:
        return float(build.centroid_cosines(trained, sample).mean())


@contextmanager
def _sample(context: StepContext, identity: EncoderIdentity, size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield vectors that are drawn from all shards, float32[n, dim], from a file that is removed afterwards."""
    embeddings = context.workspace.embeddings(identity.slug)
    with tempfile.TemporaryDirectory(prefix="lookalike-") as scratch:
        yield draw_sample(embeddings, identity.dim, size, seed, Path(scratch) / "sample.f32", context.progress)

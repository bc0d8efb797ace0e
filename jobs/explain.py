"""`lookalike build --explain-index`: the index that a build would choose, or the engine in its place, and why."""

from __future__ import annotations

from artifacts.config import EngineConfig, PipelineConfig
from artifacts.encoders.identity import encoder_identity
from artifacts.engines.collection import BATCH_ROWS
from artifacts.engines.reference import NAME_PREFIX
from artifacts.errors import InputError, StepFailed
from artifacts.index.choosing import IndexChoice, choose, size_text
from jobs.workspace.workspace import Workspace


def explain_index(config: PipelineConfig, rows: int | None, dim: int | None) -> list[str]:
    """Return lines for people.

    Args:
        rows: of the index; None for the pictures of the workspace.
        dim: length of a vector; None for that of the encoder.

    Raises:
        InputError: the settings allow no index for these rows, or the workspace has no pictures to count.
        EncoderError: the encoder is needed for `dim`, and cannot be loaded.
    """
    if rows is None:
        rows = _pictures_of(config.workspace)
    if dim is None:
        dim = encoder_identity(config.encoder.encoder, config.encoder.device, config.cache).dim
    size = f"{rows:,} rows of {dim} numbers"
    if config.engine.engine != "faiss":
        return [size, *describe_engine(config.engine, rows, dim)]
    choice = choose(rows, dim, config.index)
    return [size, *describe(choice), *choice.reasons]


def describe(choice: IndexChoice) -> list[str]:
    """Return the codec and the sizes of a choice as lines."""
    lines = [f"codec {choice.codec} ({choice.factory})"]
    if choice.lists:
        lines.append(f"{choice.lists:,} IVF lists, trained on {choice.train_rows:,} rows")
    lines.append(
        f"{choice.code_size:,} bytes a code, {choice.row_bytes:,.0f} resident bytes a row, "
        f"{size_text(choice.resident_bytes)} resident in all"
    )
    return lines


def describe_engine(config: EngineConfig, rows: int, dim: int) -> list[str]:
    """Return what an engine takes the place of, what it is loaded with, and what stays on servers, as lines."""
    where = f"at {config.engine_url}" if config.engine_url else "at no address yet: a build needs engine_url"
    vectors = size_text(2 * dim * rows)
    options = ", ".join(f"{name} {value}" for name, value in config.engine_options.items())
    if config.engine_vectors == "server":
        stays = f"Servers keep the vectors, {vectors} of files, and score exactly what {config.engine} finds."
    else:
        stays = f"Servers have product rows and no vectors: {config.engine} gives scores, and vectors where needed."
    return [
        f"engine {config.engine} {where}",
        f"No FAISS files: {NAME_PREFIX}<segment id>_<store> holds the rows of a segment.",
        f"It is loaded with {vectors} of float16 vectors and the columns of filters, {BATCH_ROWS:,} rows a batch.",
        stays,
        f"Its index is built with {options}, and else with {config.engine}'s defaults."
        if options
        else f"Its index is built with {config.engine}'s defaults; engine_options has others.",
        "codec, memory_budget and nlist are for FAISS files, and do not count.",
    ]


def _pictures_of(url: str) -> int:
    """Return the number of pictures that a workspace has downloaded."""
    try:
        reports = Workspace.existing(url).images.reports()
    except StepFailed as error:
        raise InputError(f"{error}; or name the size of the index with --rows and --dim") from None
    return sum(report.ok for report in reports)

"""`lookalike build --explain-index`: the index that a build would choose, its size, and the reasons."""

from __future__ import annotations

from artifacts.config import PipelineConfig
from artifacts.encoders.identity import encoder_identity
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
    choice = choose(rows, dim, config.index)
    return [f"{rows:,} rows of {dim} numbers", *describe(choice), *choice.reasons]


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


def _pictures_of(url: str) -> int:
    """Return the number of pictures that a workspace has downloaded."""
    try:
        reports = Workspace.existing(url).images.reports()
    except StepFailed as error:
        raise InputError(f"{error}; or name the size of the index with --rows and --dim") from None
    return sum(report.ok for report in reports)

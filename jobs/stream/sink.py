"""What the stream asks of the refresh path: apply a change file, publish, and say what failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: (product_id, reason, detail); the reason is one of `artifacts.schema.Reason`.
Failure = tuple[str, str, str]


@dataclass(frozen=True)
class AppliedChanges:
    """The outcome of a change file.

    Attributes:
        version: the release that holds the changes; the one that was served before if they changed nothing.
        applied: products that were created, updated or deleted.
        stale: changes that are older than what the release knew of their product.
        rejects: products that are not in the release for what their row says.
        pictures_failed: pictures that could not be fetched or used; a product may have several.
    """

    version: str
    applied: int
    stale: int
    rejects: Sequence[Failure]
    pictures_failed: Sequence[Failure]


#: Applies a change file, and returns only when the release that holds its changes is published. It runs in a thread of
#: its own. Applying a file twice has the effect of applying it once.
#:
#: The file has one JSON object a line, at most one for a product: the product's columns, `updated_at` (the time of its
#: event) and `deleted`. It raises PublishConflict, StepFailed or GateFailed if nothing was published.
Apply = Callable[[Path], AppliedChanges]

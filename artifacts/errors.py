"""Every error Lookalike raises on purpose.

    LookalikeError
    ├── InputError               what somebody gave us is wrong; the message names the field and says what to do
    │   ├── CatalogError           the catalog as a whole cannot be used (a single bad row is a reject, not an error)
    │   ├── PictureError           bytes that are not a picture we take; carries a Reason
    │   ├── QueryError             a search request that cannot be answered as asked; carries the field
    │   │   └── QueryPictureError    a picture of a search that cannot be used; carries a Reason, too
    │   ├── UnknownProduct         the release has no such product
    │   ├── CursorGone             a page of a search on a release that is not kept any more
    │   └── EncoderError           an encoder spec that cannot be loaded or cannot do what is asked
    │       └── TextNotSupported     a text query to an encoder that only sees pictures
    ├── ReleaseError             what is stored is not what it should be
    │   ├── NoRelease              nothing has been published yet, or the version asked for is not there
    │   ├── CorruptFile            a file's size or sha256 differs from its manifest; names the file
    │   ├── IncompatibleRelease    whole, but not for this build: another format, or another encoder
    │   └── PublishConflict        somebody else moved CURRENT in the meantime
    ├── Busy                     the server has more to do than it can do in time
    ├── GateFailed               the candidate is below the recall target or has shrunk too far: not published
    └── StepFailed               a step of the pipeline cannot go on (too many rejects, a worker that failed)

The command line prints the message and exits with 1; the server turns InputErrors into 4xx problem+json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artifacts.schema import Reason


class LookalikeError(Exception):
    """Root of all errors raised on purpose; its message is one clear sentence for a person."""


class InputError(LookalikeError):
    """What the caller gave is wrong."""


class CatalogError(InputError):
    """The catalog as a whole cannot be read or used."""


class PictureError(InputError):
    """Bytes that are not a picture Lookalike takes."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[PictureError], tuple[Reason, str]]:
        # Exceptions cross process borders by pickle, which would call __init__ with the message alone.
        return PictureError, (self.reason, self.detail)


class QueryError(InputError):
    """A search that cannot be answered as asked.

    Args:
        field: the request's parameter that is at fault, as the caller named it.
        detail: what is wrong with it and what would be right.
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail

    def __reduce__(self) -> tuple[type[QueryError], tuple[str, ...]]:
        return QueryError, (self.field, self.detail)


class QueryPictureError(QueryError):
    """A picture of a query that cannot be used."""

    def __init__(self, field: str, detail: str, reason: Reason) -> None:
        super().__init__(field, detail)
        self.reason = reason

    def __reduce__(self) -> tuple[type[QueryError], tuple[str, ...]]:
        return QueryPictureError, (self.field, self.detail, self.reason)


class UnknownProduct(InputError):
    """The release being served has no such product."""

    def __init__(self, product_id: str) -> None:
        super().__init__(f"there is no product {product_id[:200]!r} in the release being served")


class CursorGone(InputError):
    """A page is asked of a search that began on a release which is not kept any more."""


class EncoderError(InputError):
    """An encoder spec that cannot be loaded, or an encoder that cannot do what is asked."""


class TextNotSupported(EncoderError):
    """A text query to a visual-only encoder."""


class ReleaseError(LookalikeError):
    """What is stored is not what it should be."""


class NoRelease(ReleaseError):
    """Nothing has been published yet, or the version asked for is not there."""


class CorruptFile(ReleaseError):
    """A file differs from what its manifest says."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.detail = detail

    def __reduce__(self) -> tuple[type[CorruptFile], tuple[str, str]]:
        return CorruptFile, (self.path, self.detail)


class IncompatibleRelease(ReleaseError):
    """A whole release that this build or this encoder cannot serve."""


class PublishConflict(ReleaseError):
    """CURRENT was moved by somebody else since this publish began."""


class Busy(LookalikeError):
    """More is asked of the server than it can do in time.

    Attributes:
        retry_after: whole seconds after which to ask again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("there is more to do than can be done in time; ask again a little later")
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[Busy], tuple[int]]:
        return Busy, (self.retry_after,)


class GateFailed(LookalikeError):
    """The candidate release is not good enough to publish."""


class StepFailed(LookalikeError):
    """A step of the pipeline cannot go on."""

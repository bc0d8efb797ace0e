"""Every error Lookalike raises on purpose.

    LookalikeError
    ├── InputError               the input is wrong; the message names the field and says what to do
    │   ├── CatalogError           the catalog as a whole cannot be used (a single bad row is a reject, not an error)
    │   ├── PictureError           bytes that are not an accepted picture; carries a Reason
    │   ├── EventError             a message of the stream that is not an event; carries a reason
    │   ├── QueryError             a search request that cannot be answered as it is; carries the field
    │   │   └── QueryPictureError    a picture of a search that cannot be used; carries a Reason, too
    │   ├── UnknownProduct         the release has no such product
    │   ├── CursorGone             a page of a search on a release that is no longer kept
    │   ├── DeviceError            a device for indexes that is not there, or cannot do what was requested
    │   └── EncoderError           an encoder that cannot be loaded, or cannot do what was requested
    │       └── TextNotSupported     a text query to an encoder of pictures only
    ├── ReleaseError             stored data is missing, damaged or in conflict
    │   ├── NoRelease              nothing has been published, or the requested version does not exist
    │   ├── CorruptFile            a file's size or sha256 differs from its manifest; names the file
    │   ├── IncompatibleRelease    intact, but in another format or for another encoder
    │   └── PublishConflict        another process moved CURRENT in the meantime
    ├── EngineError              an engine refuses what was asked of it, or differs from its segment
    │   └── EngineUnavailable      an engine cannot be reached, or does not answer in time: another try may succeed
    │       └── EngineTooSlow        it answers, but a search takes longer than it may
    ├── EmbeddingStoreError      an embedding store cannot be reached, or refuses; what it would have said is computed
    ├── Busy                     the server has more requests than it can answer in time
    ├── GateFailed               the candidate is below the recall target or has shrunk too far: not published
    ├── StepFailed               a step of the pipeline cannot continue (too many rejects, a worker that failed)
    │   └── ShardConflict          another process has written a shard in the meantime
    └── StreamFailed             the stream cannot go on without a person (offsets lost, no brokers)

The command line prints the message and exits with 1; the server turns InputErrors into 4xx problem+json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artifacts.schema import Reason


class LookalikeError(Exception):
    """Root of all errors raised on purpose; its message is one clear sentence for a person."""


class InputError(LookalikeError):
    """The caller's input is wrong."""


class CatalogError(InputError):
    """The catalog as a whole cannot be read or used."""


class PictureError(InputError):
    """Bytes that are not a picture Lookalike accepts.

    Args:
        reason: the class of the problem, for reports and metrics.
        detail: what is wrong with this picture.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[PictureError], tuple[Reason, str]]:
        # Exceptions cross process borders by pickle, which would call __init__ with the message alone.
        return PictureError, (self.reason, self.detail)


class EventError(InputError):
    """A message that is not an event Lookalike accepts.

    Args:
        reason: the class of the problem, for dead letters and metrics.
        detail: what is wrong with this message.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[EventError], tuple[str, str]]:
        return EventError, (self.reason, self.detail)


class QueryError(InputError):
    """A search request that cannot be answered as it is.

    Args:
        field: the parameter at fault, under the name that the request uses.
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
    """A cursor belongs to a search on a release that is no longer kept."""


class DeviceError(InputError):
    """A setting names a device for indexes that this machine does not have."""


class EncoderError(InputError):
    """An encoder spec cannot be loaded, or an encoder cannot do what was requested."""


class TextNotSupported(EncoderError):
    """A text query to an encoder of pictures only."""


class ReleaseError(LookalikeError):
    """Stored data is missing, damaged or in conflict."""


class NoRelease(ReleaseError):
    """Nothing has been published, or the requested version does not exist."""


class CorruptFile(ReleaseError):
    """A file is missing or differs from its manifest.

    Args:
        path: the file.
        detail: what is wrong with it; it continues the sentence that the path begins.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.detail = detail

    def __reduce__(self) -> tuple[type[CorruptFile], tuple[str, str]]:
        return CorruptFile, (self.path, self.detail)


class IncompatibleRelease(ReleaseError):
    """An intact release that this build or this encoder cannot serve."""


class PublishConflict(ReleaseError):
    """Another process moved CURRENT after this publish began."""


class EngineError(LookalikeError):
    """An engine refuses what was asked of it, or what it holds differs from its segment."""


class EngineUnavailable(EngineError):
    """An engine cannot be reached, or does not answer in time."""


class EngineTooSlow(EngineUnavailable):
    """An engine answers, and takes longer for a search than a server would wait for it."""


class EmbeddingStoreError(LookalikeError):
    """An embedding store cannot be reached, does not answer in time, or refuses."""


class Busy(LookalikeError):
    """The server has more requests than it can answer in time.

    Attributes:
        retry_after: whole seconds to wait before a retry.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("the server has more requests than it can answer in time; try again a little later")
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[Busy], tuple[int]]:
        return Busy, (self.retry_after,)


class GateFailed(LookalikeError):
    """The candidate release is not good enough to publish."""


class StepFailed(LookalikeError):
    """A step of the pipeline cannot continue."""


class ShardConflict(StepFailed):
    """Another process has written a shard meanwhile; the step that was doing it can be run again."""


class StreamFailed(LookalikeError):
    """The stream cannot go on; what it had not applied is read again by the next run."""

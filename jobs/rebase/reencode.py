"""Pictures of the served release in a base of another encoder: found by their bytes, or embedded with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice

from artifacts.encoders.identity import EncoderIdentity
from artifacts.release.release import Release
from artifacts.schema import OK
from jobs.catalog.report import read_catalog_report
from jobs.refresh.changed import ChangedProduct
from jobs.refresh.pictures import obtain_pictures
from jobs.refresh.served import State
from jobs.refresh.workspace import refresh_workspace
from jobs.steps import StepContext
from jobs.workspace.workspace import Workspace

#: Products whose pictures are looked up at once.
_BLOCK = 20_000


def with_rows_of(base: State, products: Iterable[ChangedProduct]) -> Iterator[ChangedProduct]:
    """Yield products with the rows that a base has of their pictures; pictures that it lacks are left to be fetched.

    Args:
        base: the state of a base without a delta.
        products: with pictures of another release.
    """
    remaining = iter(products)
    while block := list(islice(remaining, _BLOCK)):
        good = [picture for product in block for picture in product.pictures if picture.status == OK]
        rows = base.rows_with_pictures([picture.sha256 for picture in good if picture.sha256 is not None])
        for picture in good:
            row, _ = rows.get(picture.sha256 or b"", (-1, False))
            picture.row, picture.in_delta = row, False
            if row < 0:
                picture.status = ""
        yield from block


@contextmanager
def embed_missing(
    context: StepContext,
    digest: str,
    products: Iterable[ChangedProduct],
    base: Release,
    state: State,
    identity: EncoderIdentity,
) -> Iterator[Workspace]:
    """Fetch and embed the pictures that a base lacks; what earlier refreshes have fetched is not fetched again.

    Args:
        context: of the build.
        digest: of the products.
        products: see `with_rows_of`; they are read twice at most.
        state: of the base.
        identity: of the base's encoder.

    Yields:
        The workspace that has them.

    Raises:
        StepFailed: a shard failed.
    """
    missing = [product for product in products if product.to_fetch]
    report = read_catalog_report(context.workspace)
    folder = context.config.picture_base or report.base
    with refresh_workspace(context.workspace, len(missing), digest, datetime.now(UTC)) as workspace:
        obtain_pictures(context, workspace, report.source, folder, missing, base, state, identity)
        yield workspace

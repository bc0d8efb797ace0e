"""What a release has to say of a shop, in plain Python: no segment, no digest, no SQL.

`ReleaseModel` holds every product as the rules of refreshing leave it, and `assert_release` compares a release with it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.errors import PictureError
from artifacts.index.params import SearchParams
from artifacts.pictures import encode_jpeg, open_stored, read_picture, thumbnail
from artifacts.products.filters import Condition, Filter
from artifacts.release.release import Release
from artifacts.schema import OK, Reason
from tests.encoders import ColourWords

#: A row of the catalog: names and typed values; `image_url` is a list.
Row = Mapping[str, Any]

KNOWN = (
    "title", "category", "brand", "price", "popularity_score", "conversion_rate", "avg_rating", "added_at",
    "updated_at",
)  # fmt: skip
NOT_SERVED = ("product_id", "image_url", "is_active", "deleted")
FACETS = ("category", "brand", "colour", "size", "fabric")
FILTERS: list[Filter] = [
    (),
    (Condition("category", any_of=("circle",)),),
    (Condition("price", minimum=5.0, maximum=20.0),),
    (Condition("colour", none_of=("red",)), Condition("size", minimum=1)),
    (Condition("fabric", missing=False),),
]


@dataclass(frozen=True)
class Picture:
    """The content of a picture.

    Attributes:
        status: OK or a Reason.
        key: sha256 of the JPEG that is stored; empty unless ok.
        vector: float16[dim].
        thumbnail: JPEG.
    """

    status: str
    key: str = ""
    vector: np.ndarray = field(default_factory=lambda: np.empty(0, np.float16), compare=False, repr=False)
    thumbnail: bytes = field(default=b"", compare=False, repr=False)


class Pictures:
    """Reads the pictures of a folder as the pipeline does; each content is encoded once.

    Args:
        folder: that URLs are relative to.
        picture_side, thumbnail_side: px.
    """

    def __init__(self, folder: Path, picture_side: int, thumbnail_side: int) -> None:
        self._folder, self._sides = folder, (picture_side, thumbnail_side)
        self._known: dict[bytes, Picture] = {}

    @property
    def known(self) -> list[Picture]:
        """Every good content that was read."""
        return [picture for picture in self._known.values() if picture.status == OK]

    def read(self, url: str) -> Picture:
        path = self._folder / url
        if not path.exists():
            return Picture(Reason.FILE_NOT_FOUND.value)
        content = path.read_bytes()
        if content not in self._known:
            self._known[content] = self._encode(content)
        return self._known[content]

    def _encode(self, content: bytes) -> Picture:
        try:
            jpeg = encode_jpeg(read_picture(content, side=self._sides[0]))
        except PictureError as error:
            return Picture(error.reason.value)
        encoder = ColourWords()
        vector = encoder.encode_images([open_stored(jpeg)])[0].astype(np.float16)
        return Picture(OK, hashlib.sha256(jpeg).hexdigest(), vector, thumbnail(jpeg, self._sides[1]))


@dataclass(frozen=True)
class Product:
    """A product as a release knows it.

    Attributes:
        row: as the catalog or the event has it.
        pictures: URL -> content, in order; at least one.
    """

    row: Row
    pictures: Mapping[str, Picture]

    @property
    def updated_at(self) -> datetime | None:
        return self.row.get("updated_at")

    @cached_property
    def good(self) -> list[tuple[int, str, Picture]]:
        """Number, URL and content of each picture that is indexed."""
        numbered = enumerate(self.pictures.items())
        return [(number, url, picture) for number, (url, picture) in numbered if picture.status == OK]

    @property
    def failed(self) -> list[str]:
        """The reasons of the other pictures."""
        return [picture.status for picture in self.pictures.values() if picture.status != OK]

    def results(self) -> list[dict[str, Any]]:
        """One result for each indexed picture, without the columns that have no value."""
        attributes = {name: value for name, value in self.row.items() if name not in (*KNOWN, *NOT_SERVED)}
        known = {name: self.row.get(name) for name in KNOWN}
        return [
            _without_nulls(
                {"product_id": self.row["product_id"], "picture": number, "image_url": url}
                | known
                | {"attributes": attributes}
            )
            for number, url, _ in self.good
        ]


@dataclass(frozen=True)
class Tombstone:
    """A product that was deleted, and when, if that was said."""

    updated_at: datetime | None


@dataclass(frozen=True)
class ReleaseModel:
    """One version of a release; methods return the next one.

    Attributes:
        products: every product and tombstone, by id.
        rejected_rows: Reason -> rows that the rules of the last full catalog rejected.
    """

    products: Mapping[str, Product | Tombstone] = field(default_factory=dict)
    rejected_rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def live(self) -> dict[str, Product]:
        """Products that are not deleted, those without a usable picture too."""
        return {key: product for key, product in self.products.items() if isinstance(product, Product)}

    @property
    def indexed(self) -> dict[str, Product]:
        """Products that can be found."""
        return {key: product for key, product in self.live.items() if product.good}

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────

    def refreshed(self, rows: Sequence[Row], pictures: Pictures) -> ReleaseModel:
        """Return what a refresh from a full catalog makes of it."""
        products = dict(self.products)
        watermark = _latest(rows)
        rejected = {row["product_id"]: row for row in rows if reason_of(row)}
        accepted = {row["product_id"]: row for row in rows if not reason_of(row)}
        for key, row in accepted.items():
            if not _is_older(row.get("updated_at"), products.get(key)):
                products[key] = product_of(row, pictures)
        for key, known in self.live.items():
            if key not in accepted:
                named = rejected.get(key, {}).get("updated_at")
                if not _is_older(named or watermark, known):
                    products[key] = Tombstone(named or known.updated_at)
        return ReleaseModel(products, Counter(map(reason_of, rejected.values())))

    def changed(self, events: Sequence[Row], pictures: Pictures) -> ReleaseModel:
        """Return what a refresh from a change file, with at most one row for a product, makes of it."""
        products = dict(self.products)
        for event in events:
            key, time = event["product_id"], event.get("updated_at")
            known = products.get(key)
            if _is_older(time, known):
                continue
            if event.get("deleted") or reason_of(event) == Reason.INACTIVE:
                products[key] = Tombstone(time or (known.updated_at if known else None))
            elif not reason_of(event):
                products[key] = product_of(event, pictures)
        return ReleaseModel(products, self.rejected_rows)

    def rebuilt(self, rows: Sequence[Row], pictures: Pictures) -> ReleaseModel:
        """Return what a full build makes of it, while nothing else is published: later events are carried over."""
        built = ReleaseModel().refreshed(rows, pictures)
        products: dict[str, Product | Tombstone] = dict(built.products)
        latest = _latest([product.row for product in built.live.values()])
        for key, known in self.products.items():
            row = built.products.get(key)
            if isinstance(known, Tombstone) and row is None:
                products[key] = known  # remembered against older events
            elif _is_older(row.updated_at if row else latest, known):
                products[key] = known
        return ReleaseModel(products, built.rejected_rows)

    # ── what a release has to say ────────────────────────────────────────────────────────────────────────────────

    @property
    def counts(self) -> dict[str, Any]:
        """As the manifest has them."""
        without_picture = Counter(product.failed[0] for product in self.live.values() if not product.good)
        rejected = Counter(self.rejected_rows) + without_picture
        return {
            "input_rows": len(self.indexed) + rejected.total(),
            "indexed": len(self.indexed),
            "pictures": sum(len(product.good) for product in self.indexed.values()),
            "rejected": dict(rejected),
            "rejected_pictures": dict(without_picture),
            "failed_pictures": dict(Counter(r for product in self.indexed.values() for r in product.failed)),
        }

    def passing(self, conditions: Filter) -> dict[str, Product]:
        """Indexed products that pass a filter."""
        return {
            key: product
            for key, product in self.indexed.items()
            if all(_passes(condition, product.row.get(condition.column)) for condition in conditions)
        }

    def facet(self, column: str, conditions: Filter) -> dict[Any, int]:
        values = (product.row.get(column) for product in self.passing(conditions).values())
        return dict(Counter(value for value in values if value is not None))


def reason_of(row: Row) -> str:
    """Why the rules reject a row; empty if they accept it."""
    if row.get("is_active") is False:
        return Reason.INACTIVE.value
    return Reason.BAD_VALUE.value if (row.get("price") or 0) < 0 else ""


def product_of(row: Row, pictures: Pictures) -> Product:
    return Product(dict(row), {url: pictures.read(url) for url in row["image_url"]})


def _latest(rows: Iterable[Row]) -> datetime | None:
    return max((row["updated_at"] for row in rows if row.get("updated_at")), default=None)


def _is_older(time: datetime | None, known: Product | Tombstone | None) -> bool:
    return bool(known and time and known.updated_at and time < known.updated_at)


def _passes(condition: Condition, value: Any) -> bool:
    if value is None:
        return not condition.needs_value
    return not (
        (condition.any_of and value not in condition.any_of)
        or value in condition.none_of
        or (condition.minimum is not None and value < condition.minimum)
        or (condition.maximum is not None and value > condition.maximum)
        or condition.missing
    )


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_nulls(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if value is not None
    }


# ── comparison ───────────────────────────────────────────────────────────────────────────────────────────────────────


def assert_release(release: Release, model: ReleaseModel) -> None:
    """Check that a release says what the model says: products, counts, facets, and the scores of exact search."""
    found: dict[str, list[dict[str, Any]]] = {}
    for result in release.rows.to_results(release.searcher.rows_that_can_be_found()):
        found.setdefault(result["product_id"], []).append(_without_nulls(result))
    assert found == {key: product.results() for key, product in model.indexed.items()}
    counts = model.counts
    assert (release.products, release.pictures) == (counts["indexed"], counts["pictures"])
    assert release.manifest.counts.model_dump() == counts
    for key, product in model.products.items():
        assert (key in release) == (key in model.indexed)
        for number, _, picture in product.good if isinstance(product, Product) else ():
            stored = release.picture(key, number)
            assert stored is not None
            assert stored.thumbnail == picture.thumbnail
    prices = sorted(product.row["price"] for product in model.indexed.values() if product.row.get("price") is not None)
    assert release.quantiles("price", [0, 1]) == [prices[0], prices[-1]]
    for conditions in FILTERS:
        _assert_facets(release, model, conditions)
        _assert_search(release, model, conditions)


def _assert_facets(release: Release, model: ReleaseModel, conditions: Filter) -> None:
    passing = model.passing(conditions)
    assert release.count(conditions) == len(passing)
    for column in FACETS:
        assert {facet.value: facet.count for facet in release.facet(column, conditions)} == model.facet(
            column, conditions
        )


def _assert_search(release: Release, model: ReleaseModel, conditions: Filter) -> None:
    passing = model.passing(conditions)
    vectors = [picture.vector for product in model.indexed.values() for _, _, picture in product.good]
    queries = np.stack([vectors[0], vectors[len(vectors) // 2]]).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    best: list[dict[str, float]] = [
        {
            key: max(float(query @ picture.vector.astype(np.float32)) for _, _, picture in product.good)
            for key, product in passing.items()
        }
        for query in queries
    ]
    served: Callable[[str], SearchParams] = release.manifest.search.__getitem__
    for params, exact in ((SearchParams(), True), (served("image"), False)):
        hits, _ = release.search(queries, len(model.indexed) + 5, params, conditions, exact=exact)
        for scores, of_query in zip(best, hits, strict=True):
            ids = release.product_ids(of_query)
            assert len(set(ids)) == len(ids) == len(passing)
            np.testing.assert_allclose([hit.score for hit in of_query], [scores[key] for key in ids], atol=1e-3)
            np.testing.assert_allclose(
                [hit.score for hit in of_query], sorted(scores.values(), reverse=True), atol=1e-3
            )


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)

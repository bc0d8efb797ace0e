"""A release of two segments, and what plain Python expects of it, for the tests of artifacts/release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.index.params import SearchParams
from artifacts.products.filters import Condition, Filter
from artifacts.release.release import Release
from tests.artifacts.building import INDEXED, open_release, product_table, unit_vectors, write_segment

DEEP = SearchParams(nprobe=64, rescore=8)

FILTERS: dict[str, Filter] = {
    "none": (),
    "category": (Condition("category", any_of=("shoe",)),),
    "not category": (Condition("category", none_of=("shoe", "bag")),),
    "price": (Condition("price", minimum=10.0, maximum=12.0),),
    "two": (Condition("category", any_of=("bag", "hat")), Condition("price", maximum=25.0)),
    "only in the newer": (Condition("season", any_of=("summer",)),),
    "not, only in the newer": (Condition("season", none_of=("summer",)),),
    "no product": (Condition("category", any_of=("car",)),),
}


@dataclass
class Product:
    """The expected values of a product."""

    id: str
    segment: int
    category: str | None
    price: float
    season: str | None
    vectors: list[np.ndarray] = field(default_factory=list)  # float16[DIM] of each picture


@dataclass
class Catalog:
    """A release of two segments, of which the newer replaces and deletes products of the older.

    Attributes:
        folders: the segments, oldest first.
        products: those that can be found, by id.
    """

    release: Release
    folders: list[Path]
    products: dict[str, Product]

    def passing(self, conditions: Filter, excluded: Sequence[str] = ()) -> list[Product]:
        """Products that pass a filter."""
        return [
            product
            for product in self.products.values()
            if product.id not in excluded
            and all(meets(getattr(product, condition.column), condition) for condition in conditions)
        ]

    def brute_force(self, query: np.ndarray, products: Sequence[Product]) -> dict[str, float]:
        """Score of each product's best picture, best first."""
        query = query.astype(np.float64)
        scores = {
            product.id: max(float(vector.astype(np.float64) @ query) for vector in product.vectors)
            for product in products
        }
        return dict(sorted(scores.items(), key=lambda item: -item[1]))


def meets(value: Any, condition: Condition) -> bool:
    """What a condition means, in plain Python."""
    if condition.any_of and (value is None or value not in condition.any_of):
        return False
    if condition.none_of and value is not None and value in condition.none_of:
        return False
    if condition.minimum is not None and (value is None or value < condition.minimum):
        return False
    return not (condition.maximum is not None and (value is None or value > condition.maximum))


def make_catalog(folder: Path, codec: str) -> Catalog:
    """Write and open the release; its segments have indexes of this codec."""
    rng = np.random.default_rng(11)

    def product(number: int, segment: int) -> Product:
        vectors = list(unit_vectors(int(rng.integers(1, 5)), seed=number + 10_000 * segment))
        return Product(
            f"p{number}",
            segment,
            category=[None, "shoe", "bag", "hat"][int(rng.integers(0, 4))],
            price=float(rng.integers(0, 50)),
            season=None if segment == 0 else ["summer", "winter", None][int(rng.integers(0, 3))],
            vectors=vectors,
        )

    older = [product(number, 0) for number in range(400)]
    newer = [product(number, 1) for number in range(300, 520)]  # 300-399 are replaced
    deleted = [f"p{number}" for number in range(0, 60, 2)]
    folders = [folder / "0", folder / "1"]
    # The newer segment deletes p500 from older ones and contains it: it is found.
    _write_products(folders[0], 0, older, codec, [])
    _write_products(folders[1], 1, newer, codec, [*deleted, "p500", "unknown to both"])
    products = {product.id: product for product in older if product.id not in deleted}
    products.update({product.id: product for product in newer})
    return Catalog(open_release(*folders), folders, products)


def _write_products(
    folder: Path, number: int, products: Sequence[Product], codec: str, tombstones: Sequence[str]
) -> None:
    rows = [(product, picture) for product in products for picture in range(len(product.vectors))]
    attributes = {} if number == 0 else {"season": pa.string()}
    table = product_table(
        [product.id for product, _ in rows],
        pictures=[picture for _, picture in rows],
        attributes=attributes,
        category=[product.category for product, _ in rows],
        price=[product.price for product, _ in rows],
        **({"season": [product.season for product, _ in rows]} if number else {}),
    )
    vectors = np.array([product.vectors[picture] for product, picture in rows], np.float16)
    layout = INDEXED.model_copy(update={"codec": codec, "rows_per_index": 500})
    write_segment(folder, vectors, table, segment_id=f"s{number}", settings=layout, tombstones=tombstones)

"""A release of a base and a delta, and what plain Python expects of it, for the tests of artifacts/release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.index.params import SearchParams
from artifacts.products.filters import Condition, Filter
from artifacts.release.release import Release
from tests.artifacts.building import INDEXED, open_release, product_table, unit_vectors, write_delta, write_segment

DEEP = SearchParams(nprobe=64, rescore=8, filtered_rescore=32)

FILTERS: dict[str, Filter] = {
    "none": (),
    "category": (Condition("category", any_of=("shoe",)),),
    "not category": (Condition("category", none_of=("shoe", "bag")),),
    "price": (Condition("price", minimum=10.0, maximum=12.0),),
    "two": (Condition("category", any_of=("bag", "hat")), Condition("price", maximum=25.0)),
    "only in the delta": (Condition("season", any_of=("summer",)),),
    "not, only in the delta": (Condition("season", none_of=("summer",)),),
    "no product": (Condition("category", any_of=("car",)),),
}


@dataclass
class Product:
    """The expected values of a product."""

    id: str
    in_delta: bool  # whether its pictures are
    category: str | None
    price: float
    season: str | None
    vectors: list[np.ndarray] = field(default_factory=list)  # float16[DIM] of each picture


@dataclass
class Catalog:
    """A release of a base and a delta, which adds, replaces, updates and deletes products.

    Attributes:
        folders: the base and the delta.
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

    def attributes(*, seasons: bool) -> dict[str, Any]:
        return {
            "category": [None, "shoe", "bag", "hat"][int(rng.integers(0, 4))],
            "price": float(rng.integers(0, 50)),
            "season": ["summer", "winter", None][int(rng.integers(0, 3))] if seasons else None,
        }

    def product(number: int, *, in_delta: bool) -> Product:
        vectors = list(unit_vectors(int(rng.integers(1, 5)), seed=number + 10_000 * in_delta))
        return Product(f"p{number}", in_delta, **attributes(seasons=in_delta), vectors=vectors)

    base = [product(number, in_delta=False) for number in range(400)]
    added = [product(number, in_delta=True) for number in range(300, 520)]  # 300-399 have other pictures
    updated = [replace(old, **attributes(seasons=True)) for old in base[100:150]]
    deleted = [f"p{number}" for number in range(0, 60, 2)]
    folders = [folder / "0", folder / "1"]
    layout = INDEXED.model_copy(update={"codec": codec, "rows_per_index": 500})
    write_segment(folders[0], _vectors(base), _table(base, {}), segment_id="base", settings=layout)
    one_row_each = [replace(product, vectors=product.vectors[:1]) for product in updated]
    write_delta(
        folders[1], folders[0], _vectors(added), _table(added, SEASON), updates=_table(one_row_each, SEASON),
        deleted=deleted,
    )  # fmt: skip
    products = {product.id: product for product in base if product.id not in deleted}
    products.update({product.id: product for product in (*added, *updated)})
    return Catalog(open_release(*folders), folders, products)


#: An attribute that only the delta has.
SEASON = {"season": pa.string()}


def _vectors(products: Sequence[Product]) -> np.ndarray:
    return np.array([vector for product in products for vector in product.vectors], np.float16)


def _table(products: Sequence[Product], attributes: dict[str, pa.DataType]) -> pa.Table:
    rows = [(product, picture) for product in products for picture in range(len(product.vectors))]
    return product_table(
        [product.id for product, _ in rows],
        pictures=[picture for _, picture in rows],
        attributes=attributes,
        category=[product.category for product, _ in rows],
        price=[product.price for product, _ in rows],
        **{name: [getattr(product, name) for product, _ in rows] for name in attributes},
    )

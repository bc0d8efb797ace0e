"""Which products' pictures are fetched although nothing says that they have changed."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.errors import InputError, StepFailed
from artifacts.schema import shard_of
from jobs.parquet import read_parquet
from jobs.workspace.shards import ShardFolder
from jobs.workspace.workspace import Workspace


@dataclass(frozen=True)
class Refetch:
    """A selection of products; empty by default.

    Attributes:
        products: product ids.
        categories: names of categories, as the catalog has them.
        all: whether every product is selected.
    """

    products: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    all: bool = False

    @classmethod
    def of(cls, products: str | None = None, categories: Iterable[str] | None = None, *, all: bool = False) -> Refetch:
        """Return the selection that options of a command describe.

        Args:
            products: ids separated by commas; see `split_list`.
            categories: one name each.

        Raises:
            InputError: `products` names none.
        """
        names = frozenset(name.strip() for name in categories or ())
        return cls(frozenset(() if products is None else named_ids(products)), names - {""}, all)

    def __bool__(self) -> bool:
        return self.all or bool(self.products or self.categories)

    def of_shard(self, catalog: ShardFolder, shard: int) -> frozenset[str]:
        """Return the ids of the selected products of a catalog shard; ids of other shards may be among them."""
        if not (self.all or self.categories):
            return self.products
        with catalog.open(shard) as file:
            table = read_parquet(file, columns=["product_id", "category"])
        if not self.all:
            options = pc.SetLookupOptions(value_set=pa.array(sorted(self.categories), pa.string()))
            table = table.filter(pc.call_function("is_in", [table["category"]], options))
        return self.products.union(table["product_id"].to_pylist())

    def require_known(self, workspace: Workspace) -> None:
        """Check that the catalog has every product and category that the selection names.

        Raises:
            StepFailed: it lacks one; the message names it.
        """
        catalog = workspace.catalog
        by_shard: dict[int, set[str]] = {}
        for product_id in self.products:
            by_shard.setdefault(shard_of(product_id, workspace.shards), set()).add(product_id)
        unknown = [name for shard, names in by_shard.items() for name in names - _values(catalog, shard, "product_id")]
        missing = set(self.categories)
        for shard in range(workspace.shards if missing else 0):
            missing -= _values(catalog, shard, "category")
        refuse_unknown(unknown, missing)


#: No product is selected.
NOTHING = Refetch()


def split_list(text: str) -> list[str]:
    """Return the entries of a list that is separated by commas; an entry with a comma is put in double quotes."""
    entries = next(csv.reader([text], skipinitialspace=True), [])
    return [entry.strip() for entry in entries if entry.strip()]


def named_ids(text: str) -> list[str]:
    """Return the product ids of an option, see `split_list`.

    Raises:
        InputError: there are none: with an empty variable of a shell, all products would be meant.
    """
    ids = split_list(text)
    if not ids:
        raise InputError("no product is named: give ids separated by commas, or leave the option out")
    return ids


def _values(catalog: ShardFolder, shard: int, column: str) -> set[str]:
    with catalog.open(shard) as file:
        values = read_parquet(file, columns=[column])[column]
    return set(values.unique().to_pylist()) - {None}


def refuse_unknown(products: Iterable[str], categories: Iterable[str]) -> None:
    """Refuse a selection that names what a catalog lacks.

    Args:
        products: ids that the selection names and the catalog lacks.
        categories: names of this kind.

    Raises:
        StepFailed: there is any; the message names the first.
    """
    for what, unknown, hint in (
        ("product", products, "it is not in the column product_id, or was rejected"),
        ("category", categories, "names are those of the column category, letter by letter"),
    ):
        names = sorted(unknown)
        if names:
            more = f" and {len(names) - 1:,} others" if len(names) > 1 else ""
            raise StepFailed(f"the catalog has no {what} {names[0]!r}{more}: {hint}")

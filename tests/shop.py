"""A small shop whose catalog is published, edited and refreshed, and what a full build of it would answer."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.index.params import SearchParams
from artifacts.products.filters import Condition
from artifacts.release.release import Release
from artifacts.settings import Settings
from artifacts.store.store import Store
from jobs.compact.step import CompactReport, run_compact
from jobs.evaluate.step import run_evaluate
from jobs.publish import PublishReport
from jobs.rebase.step import run_publish_rebased, run_rebase
from jobs.refresh.report import RefreshReport
from jobs.refresh.step import run_refresh
from jobs.steps import StepContext, StepResult
from tests.pipeline import draw, prepared, publish_small, run_index, small_settings, write_small_catalog

Rows = dict[str, dict[str, str]]


class Shop:
    """A small catalog that is published, edited and refreshed.

    Args:
        folder: of the shop; one that is there is taken as it is.
        copy_of: a shop to copy, which takes a tenth of the time of publishing one again.
        prepare: changes the catalog before it is published.
    """

    def __init__(
        self,
        folder: Path,
        products: int = 36,
        *,
        copy_of: Shop | None = None,
        prepare: Callable[[Rows], object] | None = None,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.settings = small_settings(folder, **settings)
        self.catalog = folder / "shop/catalog.csv"
        if copy_of is not None:
            shutil.copytree(copy_of.folder, folder, dirs_exist_ok=True)
        elif not self.catalog.exists():
            write_small_catalog(folder / "shop", products)
            if prepare is not None:
                self.edit(prepare)
            publish_small(self.catalog, self.settings)

    @property
    def images(self) -> Path:
        """The folder of the catalog's pictures."""
        return self.catalog.parent / "images"

    @property
    def workspace(self) -> Path:
        return Path(self.settings.workspace)

    def context(self, **settings: object) -> StepContext:
        """A context on the catalog; `settings` replace the shop's."""
        changed = Settings.model_validate(self.settings.model_dump() | settings)
        return StepContext.open(changed.pipeline, str(self.catalog))

    def edit(self, change: Callable[[Rows], object]) -> None:
        """Change rows of catalog.csv, given by product_id."""
        rows = self.rows
        change(rows)
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        with self.catalog.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(rows.values())

    def change(self, number: int, step: int = 10) -> None:
        """Add product `new<number>`, and change the picture of one, the price of another, and remove a third.

        Args:
            number: of the product that gets another picture; the other two are `step` and twice as many further.
        """
        draw(self.images / f"new{number}.jpg", "green", "triangle", 600 + number)
        draw(self.images / f"other{number}.jpg", "blue", "circle", 700 + number)

        def change(rows: Rows) -> None:
            new = {"product_id": f"new{number}", "image_url": f"images/new{number}.jpg"}
            rows[f"new{number}"] = rows["p010"] | new
            rows[f"p{number:03}"]["image_url"] = f"images/other{number}.jpg"
            rows[f"p{number + step:03}"]["price"] = str(500 + number)
            del rows[f"p{number + 2 * step:03}"]

        self.edit(change)

    @property
    def rows(self) -> Rows:
        """The rows of catalog.csv, by product_id."""
        with self.catalog.open(newline="") as file:
            return {row["product_id"]: row for row in csv.DictReader(file)}

    def products(self) -> dict[str, list[dict[str, Any]]]:
        """Every product that is served with its results, one for each picture."""
        release = self.open()
        try:
            return contents(release)
        finally:
            release.close()

    def refresh(self, **options: Any) -> StepResult[RefreshReport]:
        return run_refresh(self.context(), **options)

    def compact(self, **options: Any) -> StepResult[CompactReport]:
        return run_compact(self.context(), **options)

    def apply_changes(self, rows: Sequence[Mapping[str, Any]], name: str = "changes.jsonl", **options: Any) -> Any:
        """Refresh from a change file that holds these rows, beside the catalog; it is not remembered."""
        options = {"remember": False} | options
        path = self.catalog.with_name(name)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return run_refresh(replace(self.context(), catalog=str(path)), changes_only=True, **options)

    def build(self) -> PublishReport:
        """A full build in the shop's own workspace: what is newer in the served release is carried over."""
        context = prepared(self.catalog, self.settings)
        run_index(context)
        run_rebase(context)
        run_evaluate(context)
        return run_publish_rebased(context).report

    @property
    def store(self) -> Store:
        return Store(self.settings.releases, self.settings.cache)

    def open(self) -> Release:
        manifest = self.store.manifest()
        return Release(manifest, self.store.fetch(manifest))

    def rebuilt(self) -> Release:
        """The release of a full build of the catalog as it is now, in a folder of its own."""
        folder = self.folder / "rebuilt"
        shutil.rmtree(folder, ignore_errors=True)
        changes = {name: str(folder / name) for name in ("releases", "workspace")}
        settings = Settings.model_validate(self.settings.model_dump() | changes)
        publish_small(self.catalog, settings)
        store = Store(settings.releases, settings.cache)
        manifest = store.manifest()
        return Release(manifest, store.fetch(manifest))


def day(number: int) -> str:
    """A day of November 2026, as a catalog writes it."""
    return f"2026-11-{number:02}T00:00:00Z"


def event(product_id: str, rows: Rows, /, **values: Any) -> dict[str, Any]:
    """An event of one of a catalog's products: all of its columns, some of them changed."""
    row: dict[str, Any] = {name: value for name, value in rows[product_id].items() if value}
    return {name: value for name, value in (row | values).items() if value is not None}


def contents(release: Release) -> dict[str, list[dict[str, Any]]]:
    """Every product with its results, one for each picture."""
    rows = release.searcher.rows_that_can_be_found()
    products: dict[str, list[dict[str, Any]]] = {}
    for row in release.rows.to_results(rows):
        products.setdefault(row["product_id"], []).append(row)
    return products


FILTERS = [
    (),
    (Condition("category", any_of=("circle",)),),
    (Condition("price", minimum=5.0, maximum=20.0),),
    (Condition("colour", none_of=("red",)), Condition("size", minimum=1)),
]


def assert_same(shop: Shop) -> None:
    """The served release answers as a full build of the same catalog."""
    served, built = shop.open(), shop.rebuilt()
    try:
        assert contents(served) == contents(built)
        assert (served.products, served.pictures) == (built.products, built.pictures)
        assert served.manifest.counts == built.manifest.counts
        queries = served.searcher.vectors.take(served.searcher.rows_that_can_be_found()[:5])
        for conditions in FILTERS:
            assert served.count(conditions) == built.count(conditions)
            for column in ("category", "brand", "colour", "size"):
                facets = [{facet.value: facet.count for facet in r.facet(column, conditions)} for r in (served, built)]
                assert facets[0] == facets[1]
            hits = [
                release.search(queries, 50, SearchParams(), conditions, exact=True)[0] for release in (served, built)
            ]
            for ours, theirs in zip(*hits, strict=True):
                np.testing.assert_allclose([hit.score for hit in ours], [hit.score for hit in theirs], atol=1e-3)
                assert set(served.product_ids(ours)) == set(built.product_ids(theirs))
    finally:
        served.close()
        built.close()

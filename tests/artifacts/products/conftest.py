"""Fixtures of the tests of artifacts/products: the product rows of `catalog_table`."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.products.database import ProductDatabase
from artifacts.products.table import ARROW_FILE, ProductTable
from tests.artifacts.products.product_building import catalog_table, open_products


@pytest.fixture(scope="package")
def catalog_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalog")
    for product_file in open_products(folder, catalog_table()):
        product_file.close()
    return folder


@pytest.fixture(scope="package")
def table(catalog_folder: Path) -> ProductTable:
    return ProductTable(catalog_folder / ARROW_FILE)


@pytest.fixture(scope="package")
def database(catalog_folder: Path, table: ProductTable) -> ProductDatabase:
    return ProductDatabase(catalog_folder, table.table.schema)

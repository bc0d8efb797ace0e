"""The sample: a catalog the project draws itself, and the job that trains a small encoder for it.

Everything is decided by a seed: what a product is (`product`), how a picture of it looks (`render`) and what the shop
writes about it, so tests and evaluation know the truth about every picture.
"""

from jobs.sample.catalog import draw_catalog
from jobs.sample.product import Product, product
from jobs.sample.render import render

__all__ = ["Product", "draw_catalog", "product", "render"]

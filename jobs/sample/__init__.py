"""The sample: a catalog that the project draws itself, and the training of a small encoder for it.

A seed decides everything: what a product is (`product`), how a picture of it looks (`render`) and what the shop writes
about it (`words`), so tests and evaluation know the truth about every picture. `catalog` writes all of it to files;
start reading there. `drawing` and `kinds` lie below these modules, `encoder` above them. Imports nothing else of
Lookalike.
"""

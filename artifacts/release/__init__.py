"""An open release: all segments of one version, searched as one.

A newer segment replaces products of older ones, and deletes products by its tombstones: the rows of such products
stay in the older segments, and no search returns them. Results are products, each with its best picture.

Imports `store.manifest`, `segments` and what those import. Start reading at `release`, then `search`.
"""

"""An open release: a base and its delta, if it has one, searched as one.

The rows of a release are those of the base and then those of the delta. A product's rows lie wholly in one of the two:
the base's rows of products that are gone, or that the delta has, are deleted, and no search returns them. Rows of the
base whose attributes have changed are read from the delta's updates. Results are products, each with its best picture.

Imports `store.manifest`, `segments` and what those import. Start reading at `release`, then `search`; `compaction`
merges the two into a new base.
"""

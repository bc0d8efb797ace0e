"""Step 4 of the pipeline: one segment from products, pictures and vectors, and the candidate that names it.

Three steps, in `train`, `parts` and `seal`: start reading there. `plan` says which shards make which part, `quantizers`
and `sample` are what training needs, and `join` puts the rows of a shard together, which `shard_rows` reads block by
block. Imports `artifacts`, `jobs.catalog`, `jobs.workspace`, `jobs.steps` and `jobs.candidate`.
"""

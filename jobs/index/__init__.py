"""Step 4 of the pipeline: one segment from products, pictures and vectors, and the candidate that names it.

Imports `artifacts`, `jobs.catalog`, `jobs.workspace`, `jobs.steps` and `jobs.candidate`. Start reading at `step.py`;
`join` puts the rows of a shard together.
"""

"""Step 1 of the pipeline: read a catalog of any form, reject bad rows with a reason, write typed product shards.

`step` runs it: `sources` finds the files and the reader for the source, `readers` fill a staging file (`staging`),
`rules` and `attribute_types` validate and type the rows in DuckDB, `shards` and `report` write the result. `changes`
compares the rows with the served release instead of writing shards (`compare`, `digests`); `validation` is what both
share. The package may import `artifacts`, `jobs.workspace` and nothing of other steps; later steps import `report`,
`shards`, `changes`, `local_pictures` and `sources`. Start with `step`.
"""

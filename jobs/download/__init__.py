"""Step 2 of the pipeline: download the pictures that the catalog names, and keep them as small JPEGs.

`step` runs it shard by shard; `shard` decides which pictures of a shard are there already, by the files that `earlier`
reads, and which are fetched all the same (`refetch`); `fetch` downloads any number of pictures on one event loop, over
`http`, with `validators`, or from the catalog's own folder (`local`); `addresses` keeps catalog URLs away from private
networks; `output`, `images_file` and `spool` write the results in order. The package may import `artifacts`,
`jobs.workspace`, `jobs.parquet`, `jobs.steps` and the report of `jobs.catalog`. Start with `step`, or with `fetch` for
the downloading itself.
"""

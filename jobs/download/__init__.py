"""Step 2 of the pipeline: download the pictures that the catalog names, and keep them as small JPEGs.

`step` runs it shard by shard on Spark; `fetch` downloads any number of pictures on one event loop, over `http` or from
the catalog's own folder (`local`); `addresses` keeps catalog URLs away from private networks; `images_file` and `spool`
write the results in order. The package may import `artifacts`, `jobs.workspace`, `jobs.parquet` and `jobs.spark`, and
no other step. Start with `step`, or with `fetch` for the downloading itself.
"""

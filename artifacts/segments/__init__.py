"""A segment: an immutable set of indexed pictures with vectors, index and product rows, in one folder.

    segment.json         SegmentInfo: counts, encoder, index, sha256 and size of every other file
    vectors.f16          float16[rows, dim], L2-normalised, row-major: exact scores
    index-00000.faiss …  IVF files with row numbers as ids; or one flat file
    lists.i32            int32[rows]: the IVF list of each row (not for flat)
    products.arrow       product rows in row order: to read
    products.duckdb      the same rows: to filter and count, and product_id -> rows
    thumbnails.parquet   only where pictures have no public URL
    tombstones.json      ids of products deleted from older segments; only where there are any

The build and the server use these same classes, so what the gate measures is what is served.

Imports `index`, `products`, `storage` and the base modules of artifacts. Start reading at `info`, then `segment` for
searching and `writer` for writing.
"""

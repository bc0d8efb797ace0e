"""A segment: an immutable set of indexed pictures with vectors, index and product rows, in one folder.

    segment.json           SegmentInfo: counts, encoder, index, sha256 and size of every other file; written last
    part-00000/ …          rows of the segment; those of a part follow those of the part before
      vectors.f16          float16[rows, dim], L2-normalised, row-major: exact scores
      index.faiss          IVF with the segment's row numbers as ids; or flat or an HNSW graph, in the only part
      lists.i32            int32[rows]: the IVF list of each row (only for an IVF)
      products.arrow       product rows in row order: to read
      thumbnails.parquet   only where pictures have no public URL
    quantizer.faiss        the trained, empty index (only for an IVF, and not in a delta)
    similarity.f32         float32[lists], beside it: how alike the rows of each IVF list are
    products.duckdb        the product rows of all parts: to filter and count, and product_id -> rows
    state.parquet          what the catalog said of every product: for refreshes, not read here
  and in a delta
    updates.arrow          product rows of the base with other attributes
    deleted.bits           one bit for each row of the base: 1 if no search returns it

A base holds a whole catalog, and a delta all that differs from its base; a search takes both as one. The build and the
server use these same classes, so what the gate measures is what is served.

Imports `index`, `products`, `storage` and the base modules of artifacts. Start reading at `info`; then `segment` and
`searcher` for searching, and for writing `writer`, which writes a base, and `delta_writer`.
"""

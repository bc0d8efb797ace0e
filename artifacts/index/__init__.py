"""Vector indexes over FAISS: sizes and parameters, training and filling, exact scores, and candidates from an IVF.

Imports nothing else of artifacts of artifacts; `params` and `planner` do not import FAISS either, so a
manifest can be read without it. Start reading at `params`; then `build` for writing an index, `faiss_index` and
`vectors` for searching one, and `planner` for filters.
"""

"""Vector indexes over FAISS: sizes and parameters, training and filling, exact scores, and candidates from IVFs.

The IVF index of a delta is filled into a copy of its base's quantizer, and is searched together with the base's.
`devices` is what trains and fills them, `gpus` what searches them beside the CPU.

Imports only `config` and `errors` of artifacts. `params`, `choosing` and `planner` do not import FAISS either, so a
manifest can be read without it. Start reading at `params` and `choosing`; then `build` for writing an index (`training`
for its centroids), `faiss_index`, `graph` and `vectors` for searching one, `lists` for the lists that a search probes,
and `planner` for filters.
"""

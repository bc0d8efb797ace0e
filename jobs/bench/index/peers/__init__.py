"""The peers of `lookalike bench index`: one script for each, which runs in an environment of its own.

A script cannot import Lookalike: only the standard library, `protocol` beside it, and the packages of its environment.
It is started once to build the peer's index, once to tune it, and once for each turn of measuring; `protocol` says
what it reads and writes. A script's name ends in `_peer`: a script named `lancedb.py` would import itself. Start
reading at `protocol`, then `hnswlib_peer`, the shortest. To add a peer, write its script, and a line in
`jobs.bench.index.environments`.
"""

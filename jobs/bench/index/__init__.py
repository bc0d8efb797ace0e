"""The benchmark of indexes: Lookalike's codecs and what people would use instead, on the same vectors in one run.

`data` draws vectors or reads them (`vector_files`), and finds the exact results. `contenders` are what is compared.
`runs` builds, tunes and measures each in a process of its own (`processes`): Lookalike's by `lookalike_index`, a
peer's by its script in `peers` and in the environment that `environments` installs. `report` is what was measured.
Start reading at `runs`.
"""

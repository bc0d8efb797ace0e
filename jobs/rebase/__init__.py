"""Carries what refreshes have published meanwhile over to the base of a build or a compaction, as its delta.

`step` has the steps of a build, `rebase` writes the delta, `reencode` embeds pictures if the base has another encoder.
Imports `jobs.refresh`; `jobs.build`, `jobs.compact` and the DAGs import it. Start with `rebase`.
"""

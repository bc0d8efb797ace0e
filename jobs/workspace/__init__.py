"""The workspace: files that the steps keep between runs, so that a run does only what earlier runs have not done.

`workspace.Workspace` owns every path, `shards.ShardFolder` the files and reports of one step's shards, `records` the
JSON that reports are kept as, and `fingerprints.if_changed` is the one rule for skipping work. Imports `artifacts`
only; every step imports it. Start reading at `workspace.py`.
"""

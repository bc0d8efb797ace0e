"""Step 5 of the pipeline, the gate: recall and latency of the candidate, the search parameters, the verdict.

Imports `artifacts`, `jobs.workspace`, `jobs.steps` and `jobs.candidate`. Start reading at `step.py`: `queries` draws
queries from the workspace, `measure` searches the release with them, `calibration` chooses parameters, `index_facts`
describes the index, `samples` searches for pictures to look at, `results` is what evaluation.json holds, and `report`
renders it. Benchmarks use `calibration` and `queries`, too.
"""

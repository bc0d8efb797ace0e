"""Step 3 of the pipeline: one unit vector for each distinct picture, computed once for each encoder.

Imports `artifacts`, `jobs.workspace`, `jobs.steps` and `jobs.spark`. Start reading at `step.py`; `cache` holds a
shard's vectors, `stored` asks the embedding store, `model` runs the encoder.
"""

"""How: one module per step of the pipeline, plain functions over Parquet; Spark where rows are many."""

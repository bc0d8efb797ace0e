"""The batch side: the steps from a catalog to a published release, as functions over Parquet files in a workspace.

One package for each step (`catalog`, `download`, `embed`, `index`, `evaluate`), and `publish`; `build` runs them in
order. All take a `steps.StepContext` and return a `steps.StepResult`. The package imports `artifacts`, and neither the
server nor Airflow. Start reading at `steps.py`, then `build.py`.
"""

"""Records searches and clicks for those who measure search quality.

May import `artifacts` and `serving.metrics`; nothing else of `serving`. Start with `log.py`, which collects events in
memory; `parquet_sink.py` writes them to files.
"""

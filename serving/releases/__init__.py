"""Keeps the store's current release open for searches, and replaces it while the server runs.

May import `artifacts` and `serving.metrics`; nothing else of `serving`. Start with `watcher.py`, which follows the
store; it uses `loader.py` (fetch, verify, open and warm), which makes the `Snapshot` of `snapshot.py`.
"""

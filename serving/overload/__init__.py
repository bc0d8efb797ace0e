"""Keeps the server responsive when more searches arrive than it can answer in time.

May import `artifacts`, `serving.metrics` and `serving.problems`; nothing else of `serving`. Start with `admission.py`,
which decides whether a search may wait; `shedding.py` rejects the others early, and `worker.py` applies that to
connections before a thread handles them.
"""

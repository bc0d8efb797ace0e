"""`lookalike compact`: merges the served base and its delta into a new base, without embedding anything.

May import `artifacts`, the steps evaluate and publish, and `jobs.refresh`. Everything is in `step`.
"""

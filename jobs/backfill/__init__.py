"""`lookalike backfill`: chosen products are processed again, or all of them by a new encoder beside the served release.

May import every step, `jobs.refresh` and `jobs.build`. Start with `request`, what may be asked for; then `step`.
"""

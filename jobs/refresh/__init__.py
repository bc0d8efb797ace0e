"""`lookalike refresh`: brings the changes of a catalog into the served release as its next delta.

    changes -> pictures -> embed -> delta -> evaluate -> publish

Only what has changed is downloaded, embedded and written; a product with other attributes alone moves no vector.

May import every step of the pipeline. Start with `step`; `served` opens the release that is compared with, `pictures`
gets the pictures that it lacks, and `delta` writes what differs from its base.
"""

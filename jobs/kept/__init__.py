"""What refreshes keep in a workspace for later builds: merged when there are many of them, removed when they are old.

`step.tidy_refreshes` does both after a refresh; `images` chooses and copies the pictures of a merge. May import
`artifacts`, `jobs.download`, `jobs.embed` and `jobs.workspace`. Start reading at `step.py`.
"""

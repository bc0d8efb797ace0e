"""`lookalike bench features`: how many vectors a second embedding stores take and give, and what a row takes of them.

`measure` is the benchmark; `servers` starts a Redis and a PostgreSQL for it where their programs are installed, and
`places` says of a store what the store's own interface does not: version, size, and how to remove what was measured.
Imports `artifacts` and `jobs.steps`. Start reading at `measure`.
"""

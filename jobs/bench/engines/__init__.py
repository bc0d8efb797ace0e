"""`lookalike bench engines`: engines beside FAISS files, on the same rows in one run.

`measure` is the benchmark. `named` are the engines that it is told of, `contenders` load and open the same segment with
FAISS files and with each engine, `cases` are the queries and filters, `searches` calibrates and times, and `report` is
what was measured. Imports `artifacts`, and of `jobs` the load step, calibration, and the data of `bench index`. Start
reading at `measure`.
"""

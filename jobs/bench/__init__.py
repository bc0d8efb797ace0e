"""Benchmarks, `lookalike bench`: claims about speed and recall, measured side by side in one run.

One module or package for each benchmark (`filters`, `serve`, `stress`, `texts`, `refresh`, `features`, `engines`),
which returns a report. Below them are the data (`catalog`, `vectors`, `encoder`), searches of it (`search`), releases
of it (`release`, `rollout`) and the load on a server (`load`); above them `show` makes tables and plots of the reports,
and `commands` the command line. Imports `artifacts`, and of `jobs` the sample, the build, the load, the refresh, the
workspace, calibration and queries. Start reading at `commands`.
"""

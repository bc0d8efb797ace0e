"""Tables and plots of what benchmarks measured, one module for each benchmark.

Imports the reports of `jobs.bench`; measures nothing. Start reading at `common`.
"""

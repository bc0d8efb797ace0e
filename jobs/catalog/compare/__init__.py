"""Comparing a validated catalog with the state of the served release, in DuckDB.

`state` names the files of the state and makes its rows a view; `selection` says which products are taken as changed
although they are equal; `comparison` joins the two and writes what is changed and what is deleted. Imports the modules
of `jobs.catalog` that stage, validate and type rows; `jobs.catalog.changes` alone imports it. Start with `comparison`.
"""

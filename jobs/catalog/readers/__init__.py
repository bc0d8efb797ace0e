"""Readers of the catalog's forms: each module stages one kind of source, row by row accountable.

A reader fills a `jobs.catalog.staging.Staging` and reports rows that it cannot read instead of failing. Readers may
import `artifacts`, `jobs.workspace`, `jobs.catalog.staging` and `jobs.catalog.source`, and no other step.
`jobs.catalog.sources` chooses the reader; start with `csv_file`, the most common form.
"""

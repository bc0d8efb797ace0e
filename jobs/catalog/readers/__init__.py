"""Readers of the catalog's forms: each module stages one form, and every row is staged or reported as unreadable.

A reader fills a `jobs.catalog.staging.Staging`; it fails only if the source as a whole cannot be used. Readers may
import `artifacts`, `jobs.workspace`, `jobs.catalog.staging` and `jobs.catalog.source`, and no other step.
`jobs.catalog.sources` chooses the reader; start with `csv_file`, the most common form.
"""

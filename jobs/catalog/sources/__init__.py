"""Where a catalog comes from: which form a source has, which of its dated partitions is read, and from where on.

`opening` tells the forms apart and finds the reader for each; `parts` lists the files of a folder or glob; `dates`
resolves the placeholder `{date}`; `positions` tells how far a source of changes has been read. Imports
`jobs.catalog.readers` and `jobs.catalog.source`; the steps that read a catalog import it. Start with `opening`.
"""

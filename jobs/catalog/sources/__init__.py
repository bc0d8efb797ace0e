"""Where a catalog comes from: which form a source has, which of its dated partitions is read, and from where on.

`opening` tells the forms apart and finds the reader for each; `parts` lists the files of a folder or glob; `dates`
resolves the placeholder `{date}`; `watermarks` remembers how far a change source has been read. Imports
`jobs.catalog.readers` and `jobs.catalog.source`; the steps that read a catalog import it. Start with `opening`.
"""

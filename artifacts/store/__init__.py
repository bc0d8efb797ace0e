"""The store of releases: immutable segments, immutable versions, and one pointer to the version being served.

    CURRENT                          one line: the version being served
    versions/<version>/manifest.json written last: it makes the version exist
    segments/<id>/…                  shared between versions; invisible unless a manifest names them
    store.json                       the store's identity, which collections of engines are named after
    unnamed/<id>.json                since when none names one whose rows an engine has

The store may be a folder or any fsspec URL. Segments of a remote store are kept in a cache on this machine,
`<cache>/stores/<digest of the URL>/<id>/`, until no version names them. A crash at any point leaves CURRENT unchanged,
and a re-run ends as if there had been no crash.

Imports `segments.info`, `index.params`, `storage` and the base modules of artifacts, and no FAISS, DuckDB or torch:
listing versions is cheap. Start reading at `manifest`, then `store`.
"""

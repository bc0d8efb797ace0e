"""What the pipeline writes and the server reads: schemas, pictures, encoders, segments, releases and the store.

Imports neither `jobs` nor `serving`. Inside, imports point downwards only:

    release                                 an open version: its segments, searched as one
    store                                   versions, manifests and the pointer to the version being served
    segments                                indexed pictures with vectors, index and product rows, in one folder
    engines                                 vector databases that find candidates in place of FAISS files
    products | index | encoders             rows and filters; FAISS; models
    features                                embedding stores: vectors that workspaces and servers share
    plugins | pictures | versioned_json     user-supplied classes; image files; descriptions of releases and segments
    storage                                 folders and object stores
    settings → config, errors → schema

Start reading at `release.release` and follow a search down.
"""

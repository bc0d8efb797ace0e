"""The benchmark of refreshes, `lookalike bench refresh`: what they cost, and what the delta costs a search.

`rebuild` refreshes a drawn shop (`shop`) and builds it anew beside that; `delta` searches a base alone and with deltas
that are drawn for it (`changes`), in turns. Start reading at these two.
"""

"""How results are scored and diversified: plain functions and models over NumPy arrays, with no knowledge of requests.

rankers.py holds the `Ranker` protocol, the linear default and the loader of a shop's own model; diversity.py collapses
duplicates, orders by maximal marginal relevance and caps categories. `serving.search.ranking` applies both to the hits
of a search. Imports `artifacts` only.
"""

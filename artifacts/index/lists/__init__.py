"""The lists of an IVF: their centroids, how their rows lie around them, and which of them a search probes.

Start reading at `probing`; `model` chooses the lists under a filter, and `coarse` finds the nearest.
"""

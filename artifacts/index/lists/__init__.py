"""The IVF lists: their centroids, how their rows lie around them, and which of them a search probes."""

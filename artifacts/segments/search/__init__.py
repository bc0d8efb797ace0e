"""Searches the rows of a base and its delta.

searcher       `Searcher`: plans a search, scores few rows exactly, and leaves the others to what finds candidates
candidates     the seam: `Candidates`, which every way of finding them implements; `Plan` and `Neighbors`
ivf            FAISS files with lists, of a base and its delta together
whole          FAISS files without: flat ones, and graphs with a flat delta
engine         a vector database that was loaded with the segments
engine_rows    the rows of the segments in that database
"""

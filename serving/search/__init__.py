"""A search, from a parsed request to the JSON of its answer.

`SearchService.run` (service.py) is the place to start: it takes `SearchTask`s (task.py) through reading, encoding,
searching, ranking and rendering, and each of these stages has a module of its own. This package may import
`serving.ranking`, `serving.releases`, `serving.cache`, `serving.schemas`, `serving.responses` and `serving.timing`, and
knows nothing of Flask's request: the routes in `serving.api` import it.
"""

"""A search, from a parsed request to the JSON of its answer.

`SearchService.run` (service.py) is the place to start: it takes `SearchTask`s (task.py) through reading, encoding,
searching, ranking and rendering, and each of these stages has a module of its own. This package may import
`serving.releases`, `serving.cache`, `serving.schemas` and `serving.timing`, and never Flask: the routes in
`serving.api` import it.
"""

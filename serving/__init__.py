"""The search server: read-only, hot-loads releases, answers over HTTP. Imports `artifacts`, and never `jobs`.

Start reading at `app.create_app`, which puts the parts together, and at `search.service.SearchService.run`, which
answers a search. `server.py` runs the app under gunicorn; `releases/` loads what is published; `overload/` refuses what
cannot be answered in time; `api/` holds the routes, `events/` the record of searches and clicks, `page/` the web page,
`deploy/` the files of an installation.
"""

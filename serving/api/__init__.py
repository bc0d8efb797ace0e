"""The routes of the HTTP API: thin functions from a validated request to a response.

Start with search.py. The package imports `serving.search`, `serving.services` and what is below them; only
`serving.app` imports it. Requests and answers are pydantic models in `serving.schemas`, errors become problem+json in
`serving.problems`.
"""

"""Load on a server: the server process, connections to it, the requests, and what they cost the machine.

Imports `artifacts.errors` and nothing else of Lookalike. Start reading at `generator.LoadGenerator`.
"""

"""The verbs of `lookalike bench`. Each imports the modules that it needs: they load FAISS, torch and matplotlib.

`options` has what several of them share; `indexes`, `servers`, `freshness` and `stores` have the verbs.
"""

from __future__ import annotations

import typer

from jobs.bench.commands.freshness import bench_refresh, bench_stream
from jobs.bench.commands.indexes import bench_build, bench_filters, bench_index
from jobs.bench.commands.servers import bench_serve, bench_stress, bench_texts
from jobs.bench.commands.stores import bench_engines, bench_features

bench_app = typer.Typer(no_args_is_help=True, help="Measure claims about speed and recall, side by side in one run.")

_VERBS = {
    "filters": bench_filters,
    "index": bench_index,
    "build": bench_build,
    "serve": bench_serve,
    "stress": bench_stress,
    "texts": bench_texts,
    "refresh": bench_refresh,
    "stream": bench_stream,
    "features": bench_features,
    "engines": bench_engines,
}
for name, verb in _VERBS.items():
    bench_app.command(name)(verb)

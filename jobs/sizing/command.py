"""`lookalike size`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.console import CodecOption, MemoryBudgetOption, NlistOption, out, settings_with


def size(
    products: Annotated[int, typer.Option("--products", min=1, help="Products in the catalog.")],
    qps: Annotated[float, typer.Option("--qps", min=0, help="Searches a second, of all servers.")] = 100,
    pictures: Annotated[float, typer.Option("--pictures", min=0.1, help="Pictures of a product, on average.")] = 1,
    dim: Annotated[int, typer.Option("--dim", min=8, max=4096, help="Dimensions of a vector.")] = 512,
    text_share: Annotated[
        float, typer.Option("--text-share", min=0, max=1, help="Share of the searches that are by text.")
    ] = 0.7,
    cores: Annotated[
        int, typer.Option("--cores", min=1, help="Cores of a server, and of the machine that trains and evaluates.")
    ] = 16,
    build_cores: Annotated[int, typer.Option("--build-cores", min=1, help="Cores that write its parts.")] = 64,
    shards: Annotated[
        int, typer.Option("--shards", min=0, help="Shards of the workspace; 0: as many as the parts ask for.")
    ] = 0,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="GPUs that embed the pictures.")] = 0,
    pictures_per_second: Annotated[
        float, typer.Option("--pictures-per-second", min=0, help="Pictures that one GPU embeds.")
    ] = 0,
    codec: CodecOption = None,
    memory_budget: MemoryBudgetOption = None,
    nlist: NlistOption = None,
    points: Annotated[
        list[Path] | None,
        typer.Option("--points", help="JSON file of `lookalike bench build`, from your own machine; repeatable."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="JSON file for all numbers.")] = None,
) -> None:
    """Estimate the memory, disk, build time and servers of a catalog, from measurements of smaller ones."""
    from jobs.sizing.measured import read_point
    from jobs.sizing.plan import Demand, left_out, points_of, sizing_of
    from jobs.sizing.show import errors_text, sizing_table
    from jobs.workspace.records import to_json

    config = settings_with(codec=codec, memory_budget=memory_budget, nlist=nlist).pipeline
    measured = [read_point(path) for path in points or []]
    demand = Demand(
        products, pictures, dim, qps, text_share, cores, build_cores, shards, gpus, pictures_per_second,
        config.gate.evaluation_queries,
    )  # fmt: skip
    sizing = sizing_of(demand, config.index, measured)
    out.print(sizing_table(sizing))
    fitted = points_of(sizing.choice.codec, measured)
    if len(fitted) < 3:
        out.print("The error of the model is not known: that takes three measurements.")
    else:
        point, model = left_out(fitted)
        out.print(errors_text(point, model.errors(point)), highlight=False, soft_wrap=True)
    if json_file:
        json_file.write_text(to_json(sizing))

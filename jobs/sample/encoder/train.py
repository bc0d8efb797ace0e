"""Trains the sample encoder, a small CLIP, on drawn products: python -m jobs.sample.encoder.train"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
from numpy.typing import NDArray

from jobs.sample.encoder.recipe import CONFIG, FOLDER, Recipe
from jobs.sample.encoder.training_data import TRAINING_SEED, draw_pictures

if TYPE_CHECKING:
    from open_clip.model import CLIP


def draw(recipe: Recipe) -> NDArray[np.uint8]:
    """Draw the training pictures, uint8[products, views, 96, 96, 3]."""
    side = CONFIG["model_cfg"]["vision_cfg"]["image_size"]
    pictures = np.empty((recipe.products, recipe.views, side, side, 3), dtype=np.uint8)
    done, started = 0, time.monotonic()
    for block in draw_pictures(recipe.products, recipe.views, side):
        pictures[done : done + len(block)] = block
        done += len(block)
        if done % 2048 < 64:
            log(f"drawn {done:,} of {recipe.products:,} products, {time.monotonic() - started:.0f} s")
    return pictures


def save(model: "CLIP", folder: Path, training: dict[str, object]) -> None:
    """Write the weights in half precision, the model configuration, and a record of the training."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
        if name != "attn_mask"
    }
    part = folder / "open_clip_model.safetensors.tmp"
    save_file(weights, part, metadata={"format": "pt"})
    part.chmod(0o644)
    part.replace(folder / "open_clip_model.safetensors")
    for name, content in (("open_clip_config.json", CONFIG), ("training.json", training)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def log(line: str) -> None:
    """Print a line of progress at once."""
    print(line, flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Draw the training pictures, train, and save the encoder."""
    defaults = Recipe()
    parser = argparse.ArgumentParser(
        prog="python -m jobs.sample.encoder.train", description="Train the sample encoder."
    )
    parser.add_argument(
        "--products", type=int, default=defaults.products, help="products to draw (default %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=defaults.steps, help="training steps (default %(default)s)")
    parser.add_argument(
        "--pictures", type=Path, help="an .npz file to keep the drawn pictures in, or to read them from"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the weights")
    options = parser.parse_args(arguments)
    recipe = Recipe(products=options.products, steps=options.steps)
    started = time.monotonic()
    if options.pictures is not None and options.pictures.exists():
        with np.load(options.pictures) as kept:
            pictures, drawing = kept["pictures"], float(kept["seconds"])
    else:
        pictures = draw(recipe)
        drawing = time.monotonic() - started
        if options.pictures is not None:
            np.savez(options.pictures, pictures=pictures, seconds=drawing)
    drawn = time.monotonic()

    # On a busy machine, threads that wait for each other should sleep: spinning doubles the time of a step.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Not at the top: the processes that draw import this module, and torch takes seconds to load.
    import open_clip
    import torch

    from jobs.sample.encoder.fit import build_model, fit

    torch.set_num_threads(recipe.threads)
    model = build_model(recipe)
    losses = fit(model, pictures, recipe, log)
    done = time.monotonic()
    training: dict[str, object] = {
        "recipe": asdict(recipe),
        "training_seed": TRAINING_SEED,
        "seconds": {"drawing": round(drawing), "fitting": round(done - drawn)},
        "cores": os.cpu_count(),
        "losses": {name: round(value, 4) for name, value in losses.items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "packages": {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
    }
    save(model, options.out, training)
    log(f"saved to {options.out.name} after {done - started:.0f} s")


if __name__ == "__main__":
    main()

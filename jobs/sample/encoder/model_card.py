"""Writes the model card of the sample encoder from its recorded numbers, so that card and numbers agree."""

import json
from pathlib import Path

from jobs.sample.kinds.registry import KINDS


def model_card(folder: Path) -> str:
    """Return README.md of the encoder in `folder`, from its training.json and evaluation.json."""
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    size = (folder / "open_clip_model.safetensors").stat().st_size / 1e6
    vision, recipe, measured = config["vision_cfg"], training["recipe"], evaluation["measured"]
    seconds = training["seconds"]
    return f"""# The sample encoder

A small CLIP (pictures and words in one {config["embed_dim"]}-dimensional space) for the catalog that `lookalike sample`
draws. It lets a new user see search by picture and by words in minutes, offline, through the same code as production.

It is a sample. It knows drawn products of {len(KINDS)} kinds, in 12 colours and 6 patterns, and the words for them.
It knows nothing about real photographs; for a real catalog use a real model, see the encoders in docs/catalog.md.

| | |
|---|---|
| pictures | a ResNet with {sum(vision["layers"])} blocks of width {vision["width"]} and attention pooling, \
{vision["image_size"]} px squashed to a square |
| texts | {config["text_cfg"]["layers"]} layers of width {config["text_cfg"]["width"]}, \
{config["text_cfg"]["context_length"]} tokens |
| weights | {training["parameters"] / 1e6:.1f} M parameters, half precision, {size:.1f} MB |
| trained on | {recipe["products"]:,} drawn products, {recipe["views"]} pictures each, {recipe["steps"]} steps of \
{recipe["batch"]} products with {recipe["captions"]} captions each |
| took | {seconds["drawing"]} s to draw, {seconds["fitting"]} s to fit, on {training["cores"]} shared CPU cores |

Held-out evaluation, {evaluation["products"]:,} products of a seed that training never uses:

| query | measure | value | target |
|---|---|---|---|
| "red striped mug" | the first result has that colour, pattern and kind | \
{measured["words_precision_at_1"]:.3f} | {evaluation["targets"]["words_precision_at_1"]} |
| "scarlet stripy cup" | the same, in synonyms | {measured["synonyms_precision_at_1"]:.3f} | |
| "red mug" | the first result has that colour and kind | {measured["colour_and_kind_precision_at_1"]:.3f} | |
| another picture of a product | that very product among the first 10 | \
{measured["picture_recall_at_10"]:.3f} | {evaluation["targets"]["picture_recall_at_10"]} |
| another picture of a product | that very product first | {measured["picture_recall_at_1"]:.3f} | |

Load it with `open_clip.create_model_from_pretrained("local-dir:<this folder>")`. Train and measure it again with

    python -m jobs.sample.encoder.train
    python -m jobs.sample.encoder.evaluate

`training.json` holds the recipe and package versions, `evaluation.json` the numbers above. Words that no training
caption contains have zero vectors, so they neither help nor disturb.
"""

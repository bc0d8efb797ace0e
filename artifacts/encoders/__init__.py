"""Encoders: models that turn pictures and texts into unit vectors of one space.

Imports `plugins`, `storage`, `config` and `errors` of artifacts. Only `open_clip_model`, `timm_model`, `torch_base` and
`short_text` import torch; `registry` imports them when an encoder is loaded. Start reading at `base`, then `registry`.
"""

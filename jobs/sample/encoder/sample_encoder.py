"""Loads the trained encoder as open_clip loads any local model; used only to evaluate the training.

The pipeline and the server load it through `artifacts.encoders`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from PIL import Image
from torch import Tensor


class SampleEncoder:
    """Encodes pictures and texts as float32[n, dim], L2-normalised."""

    def __init__(self, folder: Path) -> None:
        name = f"local-dir:{folder.resolve()}"
        model, preprocess = cast(
            tuple[CLIP, Callable[[Image.Image], Tensor]], open_clip.create_model_from_pretrained(name)
        )
        self._model = model.eval()
        self._preprocess = preprocess
        self._tokenizer = cast(Callable[[list[str]], Tensor], open_clip.get_tokenizer(name))

    @torch.inference_mode()
    def encode_pictures(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return float32[n, dim], the vectors of n pictures."""
        batch = torch.stack([self._preprocess(picture.convert("RGB")) for picture in pictures])
        return _normalized(self._model.encode_image(batch))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32[n, dim], the vectors of n texts."""
        blocks = [self._tokenizer(list(texts[start : start + 256])) for start in range(0, len(texts), 256)]
        return np.concatenate([_normalized(self._model.encode_text(block)) for block in blocks])


def _normalized(vectors: Tensor) -> NDArray[np.float32]:
    return F.normalize(vectors.float(), dim=1).numpy()

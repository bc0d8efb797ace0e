"""TODO."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from artifacts.errors import EncoderError, TextNotSupported


class Encoder(ABC):
    """Turns pictures, and texts where it can, into vectors of one space.

    A subclass sets the attributes and implements `image_vectors`; one that reads text sets `supports_text` and
    implements `text_vectors`. The public methods check what these return and normalise it.

    Attributes:
        spec: what `load_encoder` was asked for.
        weights_sha256: digest of the weights, in hex.
        dim: length of a vector.
        supports_text: whether `encode_texts` works.
        preprocessing: what `prepare` does, as data, for the manifest.
    """

    spec: str
    weights_sha256: str
    dim: int
    supports_text: bool = False
    preprocessing: dict[str, Any]

    @property
    def id(self) -> str:
        """Same id, same vectors: the key of the embedding cache and of a release.

        Of a folder only the name counts: weights may be moved. The same weights behind another preprocessing give
        other vectors, so the digest is of both.
        """
        name = re.sub(r"local-dir:(?:.*/)?", "local-dir:", self.spec.rstrip("/"))
        how = f"{self.weights_sha256} {json.dumps(self.preprocessing, sort_keys=True, default=str)}"
        return f"{name}@{hashlib.sha256(how.encode()).hexdigest()[:12]}"

    @property
    def slug(self) -> str:
        """The id as the name of a folder."""
        return re.sub(r"[^A-Za-z0-9.@_-]+", "-", self.id)[-120:].strip("-.")

    def prepare(self, picture: Image.Image) -> Any:
        """What the model takes for one upright RGB picture. Called from several threads, on the CPU."""
        return picture

    @abstractmethod
    def image_vectors(self, prepared: Sequence[Any]) -> np.ndarray:
        """float[n, dim] of what `prepare` returned; need not be normalised."""

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """float[n, dim] of texts; need not be normalised."""
        raise TextNotSupported(f"encoder {self.spec} sees pictures only: search by picture, or build with a CLIP model")

    def optimize_inference(self) -> None:  # noqa: B027  (what need not be implemented)
        """Let a server's texts cost less where that changes next to nothing of what is found; by itself nothing does.

        Vectors of pictures stay as they are: the catalog's were made with them.
        """

    def encode_prepared(self, prepared: Sequence[Any]) -> np.ndarray:
        """float32[n, dim], L2-normalised. A picture the model makes nothing of is a row of zeros or NaN."""
        return self._normalize(self.image_vectors(prepared), len(prepared)) if len(prepared) else self._no_vectors()

    def encode_images(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """float32[n, dim], L2-normalised, of upright RGB pictures (see `artifacts.pictures.read_picture`)."""
        return self.encode_prepared([self.prepare(picture) for picture in pictures])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, dim], L2-normalised.

        Raises:
            TextNotSupported: the encoder is visual only.
        """
        return self._normalize(self.text_vectors(texts), len(texts)) if len(texts) else self._no_vectors()

    def _no_vectors(self) -> np.ndarray:
        return np.empty((0, self.dim), dtype=np.float32)

    def _normalize(self, vectors: np.ndarray, rows: int) -> np.ndarray:
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.shape != (rows, self.dim):
            raise EncoderError(f"encoder {self.spec} returned shape {vectors.shape}, not ({rows}, {self.dim})")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(norms == 0, 1, norms)

    def describe(self) -> dict[str, Any]:
        """What a manifest records of the encoder."""
        return {
            "id": self.id,
            "spec": self.spec,
            "weights_sha256": self.weights_sha256,
            "dim": self.dim,
            "supports_text": self.supports_text,
            "preprocessing": self.preprocessing,
        }


def digest_of(tensors: dict[str, Any]) -> str:
    """sha256 over a state dict: names, shapes and bytes, in the order of the names; the same on every device."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].detach().float().cpu().contiguous().numpy()
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()

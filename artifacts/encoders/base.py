"""The base class of all encoders: what a subclass implements, and what its callers rely on."""

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
    """Turns pictures, and texts if the model reads them, into vectors of one space.

    A subclass sets the attributes and implements `image_vectors`; one that reads text sets `supports_text` and
    implements `text_vectors`. The public methods check what these return and normalise it.

    Attributes:
        spec: the spec that `load_encoder` loaded.
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
        """Identity of the vectors, and key of the embedding cache and of a release: the same id, the same vectors.

        Of a folder only the name counts: weights may be moved. The same weights with another preprocessing give other
        vectors, so the digest is of both.
        """
        name = re.sub(r"local-dir:(?:.*/)?", "local-dir:", self.spec.rstrip("/"))
        content = f"{self.weights_sha256} {json.dumps(self.preprocessing, sort_keys=True, default=str)}"
        return f"{name}@{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    @property
    def slug(self) -> str:
        """The id as the name of a folder."""
        return re.sub(r"[^A-Za-z0-9.@_-]+", "-", self.id)[-120:].strip("-.")

    # ── what a subclass implements ───────────────────────────────────────────────────────────────────────────────

    def prepare(self, picture: Image.Image) -> Any:
        """Return the model's input for one upright RGB picture. Called from several threads, on the CPU."""
        return picture

    @abstractmethod
    def image_vectors(self, prepared: Sequence[Any]) -> np.ndarray:
        """Return float[n, dim] for inputs that `prepare` returned; they need not be normalised."""

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Return float[n, dim] for texts; they need not be normalised."""
        raise TextNotSupported(
            f"encoder {self.spec} sees pictures only: search by picture, or build the release with a CLIP model"
        )

    def optimize_inference(self) -> None:  # noqa: B027  (subclasses need not override it)
        """Make a server's texts cheaper where that changes almost none of the results; by default, do nothing.

        Vectors of pictures stay exactly the same: they must match those of the catalog.
        """

    # ── what callers use ─────────────────────────────────────────────────────────────────────────────────────────

    def encode_prepared(self, prepared: Sequence[Any]) -> np.ndarray:
        """Encode inputs that `prepare` returned.

        Returns:
            float32[n, dim], L2-normalised. A picture that the model cannot encode is a row of zeros or NaN.
        """
        return self._normalize(self.image_vectors(prepared), len(prepared)) if len(prepared) else self._no_vectors()

    def encode_images(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Encode upright RGB pictures (see `artifacts.pictures.read_picture`) as float32[n, dim], L2-normalised."""
        return self.encode_prepared([self.prepare(picture) for picture in pictures])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts as float32[n, dim], L2-normalised.

        Raises:
            TextNotSupported: the encoder encodes pictures only.
        """
        return self._normalize(self.text_vectors(texts), len(texts)) if len(texts) else self._no_vectors()

    def describe(self) -> dict[str, Any]:
        """Return what a manifest records of the encoder."""
        return {
            "id": self.id,
            "spec": self.spec,
            "weights_sha256": self.weights_sha256,
            "dim": self.dim,
            "supports_text": self.supports_text,
            "preprocessing": self.preprocessing,
        }

    def _no_vectors(self) -> np.ndarray:
        return np.empty((0, self.dim), dtype=np.float32)

    def _normalize(self, vectors: np.ndarray, rows: int) -> np.ndarray:
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.shape != (rows, self.dim):
            raise EncoderError(f"encoder {self.spec} returned shape {vectors.shape}, not ({rows}, {self.dim})")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(norms == 0, 1, norms)

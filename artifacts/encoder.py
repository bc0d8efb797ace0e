"""From an encoder spec to an object that turns pictures and texts into unit vectors.

    open_clip:ViT-B-32/laion2b_s34b_b79k   any open_clip model and pretrained tag
    local-dir:/path/to/folder              open_clip weights in a folder (open_clip_config.json and the weights)
    timm:resnet50.a1_in1k                  any timm model: pictures only
    timm:local-dir:/path/to/folder         timm weights in a folder (config.json and the weights)
    sample                                 the small CLIP that comes with Lookalike, for its drawn sample catalog
    python:package.module:Class            your own subclass of Encoder, made with no arguments

The pipeline and the server load the encoder through `load_encoder` and nothing else, so a query's vector is made
exactly as the catalog's were. An encoder's id holds a digest of its weights and its preprocessing: others of either,
another id, another cache.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from artifacts.errors import EncoderError, TextNotSupported

SAMPLE_ENCODER = Path(__file__).parent / "sample_encoder"


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

    def quicken(self) -> None:  # noqa: B027  (what need not be implemented)
        """Let a server's texts cost less where that changes next to nothing of what is found; by itself nothing does.

        Vectors of pictures stay as they are: the catalog's were made with them.
        """

    def encode_prepared(self, prepared: Sequence[Any]) -> np.ndarray:
        """float32[n, dim], L2-normalised. A picture the model makes nothing of is a row of zeros or NaN."""
        return self._checked(self.image_vectors(prepared), len(prepared)) if len(prepared) else self._nothing()

    def encode_images(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """float32[n, dim], L2-normalised, of upright RGB pictures (see `artifacts.pictures.read_picture`)."""
        return self.encode_prepared([self.prepare(picture) for picture in pictures])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, dim], L2-normalised.

        Raises:
            TextNotSupported: the encoder is visual only.
        """
        return self._checked(self.text_vectors(texts), len(texts)) if len(texts) else self._nothing()

    def _nothing(self) -> np.ndarray:
        return np.empty((0, self.dim), dtype=np.float32)

    def _checked(self, vectors: np.ndarray, rows: int) -> np.ndarray:
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


@functools.lru_cache(maxsize=4)
def load_encoder(spec: str, device: str = "auto", *, quick: bool = False) -> Encoder:
    """The encoder of a spec; loaded once per process, spec, device and quickness.

    Args:
        spec: see the module's docstring.
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, …
        quick: for a server's queries, see `Encoder.quicken`.

    Raises:
        EncoderError: the spec is not understood, or its weights cannot be had; the message says what to do.
    """
    encoder = _loaded(spec, device)
    if quick:
        encoder.quicken()
    return encoder


def _loaded(spec: str, device: str) -> Encoder:
    kind, _, rest = spec.partition(":")
    if spec == "sample":
        return _models().OpenClipEncoder(spec, f"local-dir:{SAMPLE_ENCODER}", None, device)
    if kind == "local-dir" and rest:
        return _models().OpenClipEncoder(spec, spec, None, device)
    if kind == "open_clip" and rest:
        # A folder's path may hold slashes; a model's name does not.
        model, tag = (rest, None) if rest.startswith(("local-dir:", "hf-hub:")) else _model_and_tag(spec, rest)
        return _models().OpenClipEncoder(spec, model, tag, device)
    if kind == "timm" and rest:
        return _models().TimmEncoder(spec, rest, device)
    if kind == "python" and rest:
        return _own_encoder(spec, rest)
    raise EncoderError(
        f"encoder {spec!r} is not understood: use open_clip:MODEL/TAG, local-dir:FOLDER, timm:MODEL, sample, "
        "or python:package.module:Class"
    )


def _models() -> Any:
    # torch takes seconds to import; `lookalike --help` and the DAGs should not wait for it.
    return importlib.import_module("artifacts.encoder_models")


def _model_and_tag(spec: str, rest: str) -> tuple[str, str]:
    model, _, tag = rest.partition("/")
    if not model or not tag:
        raise EncoderError(
            f"encoder {spec!r} names no weights: write open_clip:MODEL/TAG, as ViT-B-32/laion2b_s34b_b79k"
        )
    return model, tag


def _own_encoder(spec: str, rest: str) -> Encoder:
    module_name, _, class_name = rest.partition(":")
    try:
        made = getattr(importlib.import_module(module_name), class_name)()
    except Exception as error:  # somebody else's code: anything can be wrong with it
        raise EncoderError(f"encoder {spec!r} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, Encoder):
        raise EncoderError(f"encoder {spec!r}: {class_name} is not a subclass of artifacts.encoder.Encoder")
    missing = [name for name in ("weights_sha256", "dim", "preprocessing") if not hasattr(made, name)]
    if missing:
        raise EncoderError(f"encoder {spec!r}: {class_name} does not set {', '.join(missing)}")
    made.spec = spec
    return made


def digest_of(tensors: dict[str, Any]) -> str:
    """sha256 over a state dict: names, shapes and bytes, in the order of the names; the same on every device."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].detach().float().cpu().contiguous().numpy()
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()

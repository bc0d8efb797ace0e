"""Encoder identities: the id of an encoder, its dimension and its description, known without loading the encoder.

An id is a digest of weights and preprocessing, and computing it takes seconds of importing torch and reading weights.
So it is remembered in a file on this machine, with the stamps of everything that it was computed from: versions of
packages, the modules of `artifacts.encoders`, and the files of the weights where they are found. Any difference has
the encoder loaded again.

Stamps are sizes and times, not contents, so an identity decides only which work can be skipped. Everything that uses
an encoder loads it and compares its id: nothing is published under an identity that has not been verified.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from artifacts.config import EncoderConfig
from artifacts.encoders.base import Encoder
from artifacts.encoders.registry import SAMPLE_ENCODER, load_encoder
from artifacts.errors import EncoderError
from artifacts.plugins import PREFIX
from artifacts.storage import Folder

#: The file's name, in the cache folder of this machine.
IDENTITIES = "encoders.json"
#: Packages that decide what the weights and the preprocessing of a spec are.
_PACKAGES = ("open_clip_torch", "timm", "torch", "torchvision")


@dataclass(frozen=True)
class EncoderIdentity:
    """What a manifest, a cache and an index need to know of an encoder.

    Attributes:
        id: see `Encoder.id`.
        slug: the id as the name of a folder.
        description: see `Encoder.describe`.
    """

    id: str
    slug: str
    description: Mapping[str, Any]

    @classmethod
    def of(cls, encoder: Encoder) -> EncoderIdentity:
        return cls(encoder.id, encoder.slug, encoder.describe())

    @property
    def dim(self) -> int:
        return self.description["dim"]

    @property
    def supports_text(self) -> bool:
        return self.description["supports_text"]

    def describe(self) -> dict[str, Any]:
        """What a manifest records of the encoder."""
        return dict(self.description)


def encoder_identity(spec: str, device: str, cache: Path) -> EncoderIdentity:
    """The identity of a spec's encoder; the encoder is loaded only if its identity is not known.

    Args:
        spec: see `artifacts.encoders.registry`.
        device: see `load_encoder`; an id is the same on all devices.
        cache: folder on this machine.

    Raises:
        EncoderError: the encoder's identity is not known, and the encoder cannot be loaded.
    """
    return known_identity(spec, device, cache) or remember_identity(load_encoder(spec, device), cache)


def load_verified(config: EncoderConfig, identity: EncoderIdentity, cache: Path) -> Encoder:
    """Load the encoder that an identity was made for.

    Raises:
        EncoderError: it cannot be loaded, or its weights have changed unnoticed; then the new identity is remembered.
    """
    encoder = load_encoder(config.encoder, config.device)
    if encoder.id != identity.id:
        remember_identity(encoder, cache)
        raise EncoderError(
            f"encoder {config.encoder} is {encoder.id}, not {identity.id} as remembered; run the build again"
        )
    return encoder


def known_identity(spec: str, device: str, cache: Path) -> EncoderIdentity | None:
    """The identity of a spec's encoder, or None if only loading the weights can tell.

    A class of `python:` is loaded: what its id depends on, only the class knows.
    """
    if spec.startswith(PREFIX):
        return EncoderIdentity.of(load_encoder(spec, device))
    entry = _read(cache).get(spec)
    try:
        if entry is None or entry["inputs"] != _inputs(spec, entry["weights"]):
            return None
        return EncoderIdentity(entry["description"]["id"], entry["slug"], entry["description"])
    except (KeyError, TypeError, AttributeError):
        return None  # of another version of Lookalike


def remember_identity(encoder: Encoder, cache: Path) -> EncoderIdentity:
    """Remember the identity of a loaded encoder on this machine; a cache that cannot be written remembers nothing."""
    identity = EncoderIdentity.of(encoder)
    if encoder.spec.startswith(PREFIX):
        return identity
    weights = _downloaded_weights(encoder)
    entry = {
        "inputs": _inputs(encoder.spec, weights),
        "weights": weights,
        "slug": identity.slug,
        "description": identity.describe(),
    }
    entries = _read(cache)
    if entries.get(encoder.spec) != entry:
        with contextlib.suppress(OSError):
            text = json.dumps(entries | {encoder.spec: entry}, indent=1) + "\n"
            Folder(cache.expanduser()).write_text(IDENTITIES, text)
    return identity


def _read(cache: Path) -> dict[str, Any]:
    try:
        entries = json.loads((cache.expanduser() / IDENTITIES).read_bytes())
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _inputs(spec: str, weights: Sequence[str]) -> dict[str, Any]:
    """Stamps of everything that an identity is computed from.

    Args:
        weights: where the weights of a hub's model are on this machine: files and folders.
    """
    folder = _local_folder(spec)
    paths = [*weights, folder] if folder else weights
    return {
        "packages": {name: _version(name) for name in _PACKAGES},
        "modules": _digest(_stamps(Path(__file__).parent, "*.py")),
        "files": _digest([_stamps(Path(path)) for path in paths]),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _local_folder(spec: str) -> str | None:
    """The folder that a spec names, as an absolute path."""
    if spec == "sample":
        return str(SAMPLE_ENCODER)
    for prefix in ("local-dir:", "open_clip:local-dir:", "timm:local-dir:"):
        if spec.startswith(prefix):
            return str(Path(spec.removeprefix(prefix)).absolute())
    return None


def _stamps(path: Path, pattern: str = "*") -> dict[str, list[int]]:
    """Size in bytes, mtime and ctime in ns of a file, or of the files below a folder, by path."""
    paths = path.rglob(pattern) if path.is_dir() else [path]
    stamps: dict[str, list[int]] = {}
    for file in sorted(paths):
        with contextlib.suppress(OSError):
            if file.is_file():
                status = file.stat()
                stamps[os.fspath(file)] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return stamps


def _digest(stamps: object) -> str:
    return hashlib.sha256(json.dumps(stamps, sort_keys=True).encode()).hexdigest()


def _downloaded_weights(encoder: Encoder) -> list[str]:
    """Where the weights of a hub's model are on this machine: files and folders; none if it cannot be determined."""
    library, _, model = encoder.spec.partition(":")
    try:
        url, repository = "", ""
        if library == "timm":
            repository = encoder.model.pretrained_cfg.get("hf_hub_id") or ""  # type: ignore[attr-defined]
        elif model.startswith("hf-hub:"):
            repository = model.removeprefix("hf-hub:")
        elif library == "open_clip":
            import open_clip

            pretrained = open_clip.get_pretrained_cfg(*model.split("/", 1))
            url, repository = pretrained.get("url", ""), pretrained.get("hf_hub", "")
        from huggingface_hub.constants import HF_HUB_CACHE
    except (ImportError, AttributeError, TypeError):  # another version of a library: spec and versions have to do
        return []
    repository = "--".join(repository.strip("/").split("/")[:2])
    paths = [Path(HF_HUB_CACHE) / f"models--{repository}" / "snapshots"] if repository else []
    paths += [Path("~/.cache/clip").expanduser() / url.rsplit("/", 1)[-1]] if url else []
    return [str(path) for path in paths if path.exists()]

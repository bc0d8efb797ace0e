"""Encoder identities: the id of an encoder, its dimension and its description, known without loading the encoder.

An id is a digest of weights and preprocessing, and computing it takes seconds of importing torch and reading weights.
So it is remembered in a file on this machine, with the versions of everything that it was computed from, see
`artifacts.encoders.inputs`. Any difference has the encoder loaded again.

Versions of files are sizes and times, not contents, so an identity decides only which work can be skipped. The gate
loads the encoder and compares its id before a new segment is published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts.config import EncoderConfig
from artifacts.encoders.base import Encoder
from artifacts.encoders.inputs import EncoderInputs
from artifacts.encoders.registry import load_encoder, loaded_from
from artifacts.errors import EncoderError
from artifacts.plugins import PREFIX
from artifacts.storage import Folder

#: The file's name, in the cache folder of this machine.
IDENTITIES = "encoders.json"
#: Entries that are not in the file, by cache folder and spec: it cannot be written, or must not hold them.
_in_memory: dict[tuple[Path, str], dict[str, Any]] = {}


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
    entry = _in_memory.get((cache, spec)) or _read(cache).get(spec)
    try:
        if entry is None or entry["inputs"] != EncoderInputs.of(spec, entry["weights"]).versions:
            return None
        return EncoderIdentity(entry["description"]["id"], entry["slug"], entry["description"])
    except (KeyError, TypeError, AttributeError):
        return None  # of another version of Lookalike


def remember_identity(encoder: Encoder, cache: Path) -> EncoderIdentity:
    """Remember the identity of a loaded encoder on this machine, unless its inputs have changed since it was loaded.

    It is remembered in this process only if the cache cannot be written, or if the weights' versions are not known.
    """
    identity = EncoderIdentity.of(encoder)
    inputs = loaded_from(encoder)
    if inputs is None or inputs != EncoderInputs.of(encoder.spec):
        return identity
    entry = {
        "inputs": inputs.versions,
        "weights": inputs.weights,
        "slug": identity.slug,
        "description": identity.describe(),
    }
    entry = json.loads(json.dumps(entry, default=str))  # as it will be read
    _in_memory[cache, encoder.spec] = entry
    if inputs.located:
        entries = _read(cache)
        if entries.get(encoder.spec) == entry or _write(cache, entries | {encoder.spec: entry}):
            _in_memory.pop((cache, encoder.spec), None)
    return identity


def forget_identity(spec: str, cache: Path) -> None:
    """Have the encoder of a spec loaded from its weights the next time that its identity is needed."""
    load_encoder.cache_clear()
    _in_memory.pop((cache, spec), None)
    entries = _read(cache)
    if entries.pop(spec, None) is not None:
        _write(cache, entries)


def _file(cache: Path) -> Path | None:
    """The path of the file; None if it is in the home folder of a user who has none."""
    try:
        return cache.expanduser() / IDENTITIES
    except RuntimeError:
        return None


def _read(cache: Path) -> dict[str, Any]:
    """Entries by spec; none if the file cannot be read."""
    path = _file(cache)
    try:
        entries = json.loads(path.read_bytes()) if path else {}
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _write(cache: Path, entries: Mapping[str, Any]) -> bool:
    """Replace the file; returns whether it could be written."""
    path = _file(cache)
    try:
        if path:
            Folder(path.parent).write_text(path.name, json.dumps(entries, indent=1) + "\n")
    except OSError:
        return False
    return path is not None

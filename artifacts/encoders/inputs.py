"""What an encoder's id is computed from, as versions: whether an id still holds is known by comparing them.

They are versions of packages, of the modules of `artifacts.encoders`, and of the files of the weights where they are
found. A file's version is its size and times, not its content.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SAMPLE_ENCODER = Path(__file__).parent.parent / "sample_encoder"
#: Packages that decide what the weights and the preprocessing of a spec are.
_PACKAGES = ("open_clip_torch", "timm", "torch", "torchvision")


@dataclass(frozen=True)
class EncoderInputs:
    """Everything that an encoder's id is computed from.

    Attributes:
        weights: where the weights of a hub's model are on this machine: files and folders.
        versions: of packages, modules and files, as JSON can hold them.
        located: whether the versions include those of the weights.
    """

    weights: list[str]
    versions: dict[str, Any]
    located: bool

    @classmethod
    def of(cls, spec: str, weights: Sequence[str] | None = None) -> EncoderInputs:
        """The inputs of a spec as they are now.

        Args:
            weights: where a hub's model was found before; None has it located, which imports the model's library.
        """
        folder = _local_folder(spec)
        if weights is None:
            weights = [] if folder else _downloaded_weights(spec)
        paths = [*weights, folder] if folder else weights
        versions = {
            "packages": {name: _version(name) for name in _PACKAGES},
            "modules": _digest(_file_versions(Path(__file__).parent, "*.py")),
            "files": _digest([_file_versions(Path(path)) for path in paths]),
        }
        return cls(list(weights), versions, located=bool(paths))


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


def _file_versions(path: Path, pattern: str = "*") -> dict[str, list[int]]:
    """Size in bytes, mtime and ctime in ns of a file, or of the files below a folder, by path."""
    paths = path.rglob(pattern) if path.is_dir() else [path]
    versions: dict[str, list[int]] = {}
    with contextlib.suppress(OSError):
        for file in sorted(paths):
            with contextlib.suppress(OSError):
                if file.is_file():
                    status = file.stat()
                    versions[os.fspath(file)] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return versions


def _digest(versions: object) -> str:
    return hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()


def _downloaded_weights(spec: str) -> list[str]:
    """Where the weights of a hub's model are on this machine: files and folders; none if it cannot be determined."""
    library, _, model = spec.partition(":")
    url, repository = "", ""
    try:
        if model.startswith("hf-hub:"):
            repository = model.removeprefix("hf-hub:")
        elif library == "timm":
            from timm.models import get_pretrained_cfg

            pretrained = get_pretrained_cfg(model)
            repository = (pretrained and pretrained.hf_hub_id) or ""
        elif library == "open_clip":
            import open_clip

            pretrained = open_clip.get_pretrained_cfg(*model.split("/", 1))
            url, repository = pretrained.get("url", ""), pretrained.get("hf_hub", "")
        else:
            return []
        from huggingface_hub.constants import HF_HUB_CACHE

        repository = "--".join(repository.strip("/").split("/")[:2])
        paths = [Path(HF_HUB_CACHE) / f"models--{repository}" / "snapshots"] if repository else []
        paths += [Path("~/.cache/clip").expanduser() / url.rsplit("/", 1)[-1]] if url else []
        return [str(path) for path in paths if path.exists()]
    except Exception:  # an unknown model, or another version of a library: spec and versions have to do
        return []

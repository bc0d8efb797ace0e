"""From an encoder spec to an object that turns pictures and texts into unit vectors.

    open_clip:ViT-B-32/laion2b_s34b_b79k   any open_clip model and pretrained tag
    local-dir:/path/to/folder              open_clip weights in a folder (open_clip_config.json and the weights)
    timm:resnet50.a1_in1k                  any timm model: pictures only
    timm:local-dir:/path/to/folder         timm weights in a folder (config.json and the weights)
    sample                                 the small CLIP that comes with Lookalike, for its drawn sample catalog
    python:package.module:Class            your own subclass of Encoder, created without arguments

The pipeline and the server load the encoder through `load_encoder` and nothing else, so a query's vector is computed
exactly as the catalog's were. An encoder's id contains a digest of its weights and its preprocessing: when either
changes, so do the id and the cache of vectors. `artifacts.encoders.identity` knows ids without loading encoders.
"""

from __future__ import annotations

import functools
from weakref import WeakKeyDictionary

from artifacts.encoders.base import Encoder
from artifacts.encoders.inputs import SAMPLE_ENCODER, EncoderInputs
from artifacts.errors import EncoderError
from artifacts.plugins import PREFIX, make_plugin

_loaded_from: WeakKeyDictionary[Encoder, EncoderInputs] = WeakKeyDictionary()


@functools.lru_cache(maxsize=4)
def load_encoder(spec: str, device: str = "auto", *, quick: bool = False) -> Encoder:
    """Load the encoder of a spec, once per process, spec, device and quickness.

    Args:
        spec: see the module's docstring.
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, …
        quick: for a server's queries, see `Encoder.optimize_inference`.

    Raises:
        EncoderError: the spec is not understood, or its weights cannot be loaded; the message says what to do.
    """
    if spec.startswith(PREFIX):
        encoder = _load(spec, device)
    else:
        inputs = EncoderInputs.of(spec)  # before the weights are read: files that change meanwhile are noticed
        encoder = _load(spec, device)
        _loaded_from[encoder] = inputs
    if quick:
        encoder.optimize_inference()
    return encoder


def loaded_from(encoder: Encoder) -> EncoderInputs | None:
    """What an encoder was loaded from, as it was before the weights were read; None for an encoder of `python:`."""
    return _loaded_from.get(encoder)


def _load(spec: str, device: str) -> Encoder:
    scheme, _, rest = spec.partition(":")
    if spec == "sample":
        return _open_clip(spec, f"local-dir:{SAMPLE_ENCODER}", None, device)
    if scheme == "local-dir" and rest:
        return _open_clip(spec, spec, None, device)
    if scheme == "open_clip" and rest:
        # A folder's path may hold slashes; a model's name does not.
        model, tag = (rest, None) if rest.startswith(("local-dir:", "hf-hub:")) else _model_and_tag(spec, rest)
        return _open_clip(spec, model, tag, device)
    if scheme == "timm" and rest:
        from artifacts.encoders.timm_model import TimmEncoder

        return TimmEncoder(spec, rest, device)
    if scheme == "python" and rest:
        return _custom_encoder(spec, rest)
    raise EncoderError(
        f"encoder {spec!r} is not understood: use open_clip:MODEL/TAG, local-dir:FOLDER, timm:MODEL, sample, "
        "or python:package.module:Class"
    )


def _open_clip(spec: str, model: str, tag: str | None, device: str) -> Encoder:
    # Importing torch takes seconds; `lookalike --help` and the DAGs must not wait for it.
    from artifacts.encoders.open_clip_model import OpenClipEncoder

    return OpenClipEncoder(spec, model, tag, device)


def _model_and_tag(spec: str, rest: str) -> tuple[str, str]:
    model, _, tag = rest.partition("/")
    if not model or not tag:
        raise EncoderError(
            f"encoder {spec!r} names no weights: write open_clip:MODEL/TAG, as ViT-B-32/laion2b_s34b_b79k"
        )
    return model, tag


def _custom_encoder(spec: str, rest: str) -> Encoder:
    class_name = rest.partition(":")[2]
    encoder = make_plugin(spec, "encoder", EncoderError)
    if not isinstance(encoder, Encoder):
        raise EncoderError(f"encoder {spec!r}: {class_name} is not a subclass of artifacts.encoders.base.Encoder")
    missing = [name for name in ("weights_sha256", "dim", "preprocessing") if not hasattr(encoder, name)]
    if missing:
        raise EncoderError(f"encoder {spec!r}: {class_name} does not set {', '.join(missing)}")
    encoder.spec = spec
    return encoder

"""What is compared: Lookalike with each codec, and the kinds of index of each peer."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from artifacts.config import Codec
from artifacts.errors import InputError, LookalikeError
from jobs.bench.index import environments
from jobs.bench.index.environments import Peer
from jobs.bench.index.report import OWN
from jobs.evaluate import calibration
from jobs.workspace.fingerprints import fingerprint

_ROOT = Path(__file__).parents[3]
CODECS: tuple[str, ...] = tuple(codec for codec in get_args(Codec) if codec != "auto")


@dataclass(frozen=True)
class Contender:
    """A kind of index, and how its stages are started.

    Attributes:
        command: that the names of stage, task and result are added to.
        inputs: digest of the code and packages that a kept index and its settings depend on, beside the data.
    """

    peer: str
    index: str
    command: tuple[str, ...]
    path: Path
    inputs: str
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.peer} {self.index}"


def chosen_codecs(names: str) -> list[str]:
    """Return the codecs of a list such as "pq,sq8"; all if it is empty.

    Raises:
        InputError: there is no such codec.
    """
    chosen = [name.strip() for name in names.split(",") if name.strip()] or list(CODECS)
    for name in chosen:
        if name not in CODECS:
            raise InputError(f"--codecs: there is no codec {name!r}; use some of {', '.join(CODECS)}")
    return chosen


def own_contender(codec: str) -> Contender:
    """Return Lookalike with a codec."""
    command = (sys.executable, "-m", "jobs.bench.index.lookalike_index")
    folders = (_ROOT / "artifacts" / "index", _ROOT / "artifacts" / "segments")
    code = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    code += [Path(__file__).with_name("lookalike_index.py"), Path(calibration.__file__), *_shared_scripts()]
    return Contender(OWN, codec, command, _ROOT, fingerprint([path.read_text() for path in code]))


def _shared_scripts() -> list[Path]:
    return [environments.SCRIPTS / name for name in ("protocol.py", "measuring.py", "tuning.py", "stages.py")]


def contenders_of(name: str, peer: Peer, folder: Path, errors: dict[str, str]) -> list[Contender]:
    """Install a peer, and return a contender for each of its indexes; if that fails, with an error for each."""
    command = (environments.python_of(name, peer, folder), str(peer.script.absolute()))
    inputs = fingerprint(peer.requirements, [path.read_text() for path in (peer.script, *_shared_scripts())])
    found = [Contender(name, index, command, environments.SCRIPTS, inputs, peer.note) for index in peer.indexes]
    try:
        environments.install(name, peer, folder)
    except LookalikeError as error:
        errors.update({contender.name: f"install: {error}" for contender in found})
    return found

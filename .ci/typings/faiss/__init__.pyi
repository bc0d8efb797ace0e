# FAISS's own stubs describe the C++ signatures, not those of its Python wrappers: most calls would be errors.
from typing import Any

def __getattr__(name: str) -> Any: ...

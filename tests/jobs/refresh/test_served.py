"""What is taken over from the version that is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.config import EngineConfig, EngineKind
from artifacts.engines.reference import EngineRef
from artifacts.segments.info import INFO_FILE, read_info
from jobs.refresh.served import Served
from tests.shop import Shop

RECORDED, CONFIGURED = "http://old:1", "http://new:2"


@pytest.mark.parametrize(
    ("kind", "url", "expected"),
    [
        ("milvus", CONFIGURED, CONFIGURED),
        ("milvus", "", RECORDED),
        ("qdrant", CONFIGURED, RECORDED),
        ("faiss", "", RECORDED),
    ],
)
def test_configured_address_is_recorded_only_if_it_is_of_the_engine_of_the_base(
    tmp_path: Path, kind: EngineKind, url: str, expected: str
) -> None:
    served = _served_by_milvus(tmp_path)
    assert served.engine_url(EngineConfig(kind, url)) == expected


def test_release_without_an_engine_records_no_address(tmp_path: Path) -> None:
    served = Served.of(Shop(tmp_path).store)
    assert served.engine_url(EngineConfig("faiss", CONFIGURED)) == ""
    assert served.engine_url(EngineConfig("qdrant", CONFIGURED)) == ""


def _served_by_milvus(folder: Path) -> Served:
    """A version whose base says that Milvus finds its candidates."""
    served = Served.of(Shop(folder).store)
    info = read_info(served.folders[0]).model_copy(update={"engine": EngineRef(kind="milvus", name="lookalike_a")})
    base = folder / "base"
    base.mkdir()
    (base / INFO_FILE).write_text(info.model_dump_json())
    return Served(served.manifest.model_copy(update={"engine_url": RECORDED}), [base])

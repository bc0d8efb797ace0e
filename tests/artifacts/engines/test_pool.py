"""Which address and which credential a process opens engines with, during a move from one engine to another, too."""

from __future__ import annotations

import pytest

from artifacts.engines.base import EngineAddress
from artifacts.engines.pool import EnginePool
from artifacts.errors import EngineError

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used:UserWarning")

OLD, NEW, OTHER = "http://old:1", "http://new:2", "http://other:3"


def test_engines_of_another_kind_are_opened_where_their_release_says_and_without_the_credential() -> None:
    engines = EnginePool("qdrant", NEW, "s3cret")
    assert engines.engine("qdrant", OLD).address == EngineAddress(NEW, "s3cret")
    assert engines.engine("milvus", OLD).address == EngineAddress(OLD)
    with pytest.raises(EngineError, match=r"where milvus is; .* the configured engine is qdrant"):
        engines.engine("milvus")
    engines.close()


def test_recorded_address_is_taken_where_none_is_configured() -> None:
    engines = EnginePool("qdrant", key="s3cret")
    assert engines.engine("qdrant", OLD).address == EngineAddress(OLD, "s3cret")
    assert engines.engine("qdrant", OTHER).address == EngineAddress(OTHER, "s3cret")
    with pytest.raises(EngineError, match="engine_url: say where qdrant is"):
        engines.engine("qdrant")
    engines.close()


@pytest.mark.parametrize("kind", ["qdrant", "milvus"])
def test_server_that_is_told_no_kind_opens_any_with_its_address_and_credential(kind: str) -> None:
    engines = EnginePool(url=NEW, key="s3cret")
    assert engines.engine(kind, OLD).address == EngineAddress(NEW, "s3cret")
    engines.close()

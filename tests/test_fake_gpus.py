"""The fake GPUs accept what FAISS accepts, and nothing else."""

from __future__ import annotations

import faiss
import pytest

from tests.fake_gpus import FakeGpus


@pytest.mark.parametrize("options", ["GpuClonerOptions", "GpuMultipleClonerOptions"])
def test_options_that_faiss_does_not_have_are_refused(monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    FakeGpus(monkeypatch, 1)
    made = getattr(faiss, options)()
    made.use_cuvs = False
    with pytest.raises(AttributeError):
        made.use_raft = False


@pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="FAISS sees no GPU: it needs one, and the extra `gpu`")
@pytest.mark.parametrize("options", ["GpuClonerOptions", "GpuMultipleClonerOptions"])
def test_fake_options_are_those_of_faiss(monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    real = {name for name in dir(getattr(faiss, options)()) if not name.startswith("_")} - {"this", "thisown"}
    FakeGpus(monkeypatch, 1)
    assert set(getattr(faiss, options).__dataclass_fields__) == real

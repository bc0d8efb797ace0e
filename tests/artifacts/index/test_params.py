"""Sizes of an index, factory strings and search parameters."""

from __future__ import annotations

import faiss
import pytest

from artifacts.index.lists.coarse import has_graph
from artifacts.index.params import GRAPH_LISTS, SearchParams, code_size, factory_string, lists_for
from tests.artifacts.index.ivf_building import CODECS


def test_lists_grow_with_the_rows():
    assert [lists_for(rows) for rows in (0, 1, 1000, 1_000_000, 10_000_000, 100_000_000)] == [
        1, 4, 128, 4096, 16_384, 65_536,
    ]  # fmt: skip
    sizes = [lists_for(rows) for rows in range(1, 30_000_000, 99_991)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("dim", [1, 2, 7, 12, 100, 320, 384, 512, 513, 768, 1280, 2048])
@pytest.mark.parametrize("codec", CODECS)
def test_factory_string_and_code_size_fit_every_dimension(codec: str, dim: int):
    index = faiss.index_factory(dim, factory_string(codec, dim, 4), faiss.METRIC_INNER_PRODUCT)
    assert index.d == dim
    assert faiss.extract_index_ivf(index).code_size == code_size(codec, dim)


@pytest.mark.parametrize("codec", CODECS)
def test_many_lists_get_a_graph_over_their_centroids(codec: str):
    for lists, is_graph in ((GRAPH_LISTS - 1, False), (GRAPH_LISTS, True)):
        index = faiss.index_factory(8, factory_string(codec, 8, lists), faiss.METRIC_INNER_PRODUCT)
        assert has_graph(faiss.extract_index_ivf(index)) == is_graph


def test_pq_codes_take_a_byte_for_eight_dimensions():
    assert factory_string("pq", 512, 8) == "IVF8,PQ64"
    assert factory_string("pq", 100, 8) == "IVF8,PQ10"


@pytest.mark.parametrize("codec", ["zip", "flat", "hnsw"])
def test_factory_string_refuses_other_codecs(codec: str):
    with pytest.raises(ValueError, match=f"codec '{codec}' is not one of pq, opq, rabitq, sq8"):
        factory_string(codec, 8, 8)


def test_deeper_params_probe_and_rescore_more():
    assert SearchParams(10, 4).deeper(1) == SearchParams(10, 4)
    assert SearchParams(10, 4, 8, 16, 10).deeper(4) == SearchParams(40, 8, 8, 32, 20)
    assert SearchParams(10, 4, 8, 16, 10).deeper(1.5) == SearchParams(15, 4, 8, 16, 13)

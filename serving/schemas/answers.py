"""What the server answers: results, products, the release, health, and problems."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """An error, in the form of RFC 9457."""

    type: str = Field("about:blank", description="URI of the problem type; about:blank adds nothing to `title`.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(description="The HTTP status code.")
    detail: str = Field(description="What is wrong with this request, and how to correct it.")
    field: str | None = Field(None, description="The parameter that is wrong.")


class ProductModel(BaseModel):
    """A product. Values that the catalog does not have are null."""

    product_id: str
    image_url: str = Field(description="URL of the picture, or of its thumbnail on this server.")
    title: str | None = None
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    popularity_score: float | None = None
    conversion_rate: float | None = None
    avg_rating: float | None = None
    added_at: datetime | None = None
    updated_at: datetime | None = None
    attributes: dict[str, Any] = Field(default_factory=dict, description="The catalog's own columns.")


class ProductAnswer(ProductModel):
    """A product with all its pictures."""

    pictures: list[str]


class Result(ProductModel):
    """A product in the answer to a search."""

    similarity_score: float = Field(description="Cosine similarity of the query and the product's best picture.")
    score: float = Field(description="Similarity and the shop's signals together.")
    picture: int = Field(description="Position of the best matching picture in the product's list, from 0.")
    duplicates: list[str] | None = Field(None, description="Ids of products that `collapse` folded into this one.")
    score_parts: dict[str, float] | None = Field(None, description="Terms that sum to the score; with `explain`.")


class FacetValue(BaseModel):
    """A value of an attribute, with the number of products that have it."""

    value: str | int | bool
    count: int = Field(description="Products with this value, of all that pass the filters.")
    nearby: int = Field(
        description="Products with this value among the most similar: the best 200, or 100 if ordered by similarity "
        "alone."
    )


class FacetBand(FacetValue):
    """A band of numbers; `value` names its limits in words."""

    minimum: float | None = Field(description="Inclusive limit, for `filter_min`; null in the lowest band.")
    below: float | None = Field(description="Exclusive limit, for `filter_below`; null in the highest band.")


class SearchAnswer(BaseModel):
    """The results of a search."""

    results: list[Result]
    total_found: int = Field(description="Number of products that pass the filters.")
    query_time_ms: float
    search_id: str = Field(description="Identifies this search in logs and click events.")
    release: str = Field(description="Version of the release that was searched.")
    next_cursor: str | None = Field(None, description="Cursor of the next page, of the same release; null on the last.")
    facets: dict[str, list[FacetBand | FacetValue]] | None = None
    explain: dict[str, Any] | None = None


class Failed(BaseModel):
    """A search of a batch that failed; the others are answered nevertheless."""

    problem: Problem


class BatchAnswer(BaseModel):
    """Answers in the order of the searches."""

    answers: list[SearchAnswer | Failed]
    query_time_ms: float


class EngineAnswer(BaseModel):
    """An engine that finds the candidates of searches."""

    kind: str
    exact_scores: bool = Field(
        description="Whether similarities are computed from stored vectors, or are the engine's."
    )
    repeatable: bool = Field(description="Whether the same search always finds the same products.")


class ReleaseAnswer(BaseModel):
    """The release being served."""

    version: str
    created_at: datetime
    loaded_at: datetime
    encoder: dict[str, Any]
    products: int
    pictures: int
    recall: dict[str, float]
    delta_share: float = Field(description="Share of the base's rows that refreshes have changed since it was made.")
    drift: float | None = Field(description="How far the rows have moved away from the trained IVF lists, 0 to 1.")
    columns: dict[str, str] = Field(description="Attributes that can be filtered on, with their types.")
    supports_text: bool
    engine: EngineAnswer | None = Field(description="What finds candidates, if it is not FAISS files of the release.")


class Health(BaseModel):
    """Whether the process is alive."""

    status: str


class Readiness(BaseModel):
    """Whether a release is loaded; `failure` describes a newer release that was refused."""

    status: str
    release: str
    failure: str | None = None

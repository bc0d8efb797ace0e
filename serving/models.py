"""Requests and answers of the HTTP API, as pydantic models: they validate, and they are the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from flask_openapi.models.file import FileStorage
from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[float, Field(allow_inf_nan=False)]


class Common(BaseModel):
    """What every search takes. Unknown parameters are refused: a misspelt filter must not look like a working one."""

    model_config = ConfigDict(extra="forbid")

    category: list[str] = Field(default_factory=list, description="Only these categories. Repeatable.")
    category_not: list[str] = Field(default_factory=list, description="None of these categories. Repeatable.")
    brand: list[str] = Field(default_factory=list, description="Only these brands. Repeatable.")
    brand_not: list[str] = Field(default_factory=list, description="None of these brands. Repeatable.")
    price_min: Number | None = Field(None, description="At least this price; 0 is a price.")
    price_max: Number | None = Field(None, description="At most this price.")
    filter: list[str] = Field(
        default_factory=list,
        description="name:value for any other attribute. Repeatable: values of one name are alternatives.",
    )
    filter_not: list[str] = Field(
        default_factory=list, description="name:value that products must not have. Repeatable."
    )
    limit: int = Field(20, ge=1, le=100, description="Products to return.")
    offset: int = Field(0, ge=0, description="Products to skip.")
    rerank: bool = Field(True, description="Order by similarity and the shop's signals; false: by similarity alone.")
    max_per_category: int | None = Field(
        None, ge=0, le=100, description="Products of one category before others get their turn; 0: no cap."
    )
    facets: list[str] = Field(
        default_factory=list, description="Attributes to count values of. Repeatable, or with commas."
    )
    recall: float = Field(1.0, ge=1, le=16, description="Look so many times harder than the release's calibration.")
    explain: bool = Field(False, description="Tell how the search was done.")


class TextQuery(Common):
    """A search by words."""

    q: str = Field(min_length=1, description="What to look for, in words.")


class ImageForm(Common):
    """A search by pictures; the other fields may also be query parameters."""

    image: list[FileStorage] = Field(description="One or more pictures: JPEG, PNG, WebP, GIF, BMP or TIFF.")
    crop: str | None = Field(None, description="x0,y0,x1,y1 from 0 to 1: only this part of each picture.")


class SimilarQuery(Common):
    """A search for what looks like a product."""

    limit: int = Field(10, ge=1, le=50, description="Products to return.")


class ProductPath(BaseModel):
    product_id: str = Field(min_length=1, description="The product's id, as in the catalog.")


class PictureQuery(BaseModel):
    picture: int = Field(0, ge=0, le=10_000, description="Position of the picture in the product's list.")


class ProductModel(BaseModel):
    """A product; values that the catalog does not have are null."""

    product_id: str
    image_url: str = Field(description="The picture, or its thumbnail on this server.")
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
    """A product that was found."""

    similarity_score: float = Field(description="Cosine of the angle between the query and the product's best picture.")
    score: float = Field(description="What the order is by.")


class FacetValue(BaseModel):
    value: str | int | bool
    count: int


class SearchAnswer(BaseModel):
    """What a search found."""

    results: list[Result]
    total_found: int = Field(description="Products that pass the filters.")
    query_time_ms: float
    search_id: str = Field(description="Names this search in logs and click events.")
    release: str = Field(description="The version that answered.")
    facets: dict[str, list[FacetValue]] | None = None
    explain: dict[str, Any] | None = None


class ReleaseAnswer(BaseModel):
    """What is being served."""

    version: str
    created_at: datetime
    loaded_at: datetime
    encoder: dict[str, Any]
    products: int
    pictures: int
    recall: dict[str, float]
    columns: dict[str, str] = Field(description="What can be filtered on, with types.")
    supports_text: bool


class Health(BaseModel):
    status: str


class Readiness(BaseModel):
    """Ready once a release is loaded; `failure` tells of a newer one that was refused."""

    status: str
    release: str
    failure: str | None = None

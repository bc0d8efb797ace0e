"""Requests and answers of the HTTP API, as pydantic models: they validate, and they are the OpenAPI document."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Annotated, Any

from flask_openapi.models.file import FileStorage
from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[float, Field(allow_inf_nan=False)]


class Problem(BaseModel):
    """What went wrong: RFC 9457."""

    type: str = Field("about:blank", description="URI of the kind of problem; about:blank says that `title` is all.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request and what would be right.")
    field: str | None = Field(None, description="The parameter at fault.")


@functools.cache
def _kinds(model: type[BaseModel]) -> dict[str, Any]:
    properties = BaseModel.model_json_schema.__func__(model)["properties"]  # type: ignore[attr-defined]
    plain = {"type": "string"}
    return {name: kind if kind.get("type") == "array" else plain for name, kind in properties.items()}


class Common(BaseModel):
    """What every search takes. Unknown parameters are refused: a misspelt filter must not look like a working one."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The JSON schema; without arguments no more than which fields are lists.

        flask_openapi asks so at every request, to know how to read query and form. It would read a form's numbers and
        optional texts as JSON: the text 501 would come as a number, and a long row of digits would not come at all. As
        plain texts they are read by the model itself, as in a query. And a schema takes longer to make than to search.
        """
        if args or kwargs:
            return super().model_json_schema(*args, **kwargs)
        return {"properties": _kinds(cls)}

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
    filter_min: list[str] = Field(default_factory=list, description="name:value, the least to take. Repeatable.")
    filter_max: list[str] = Field(default_factory=list, description="name:value, the most to take. Repeatable.")
    filter_below: list[str] = Field(
        default_factory=list, description="name:value, all to take is less than it. Repeatable."
    )
    missing: list[str] = Field(default_factory=list, description="Attributes that products have no value of.")
    present: list[str] = Field(default_factory=list, description="Attributes that products have a value of.")
    limit: int = Field(20, ge=1, le=100, description="Products to return.")
    offset: int = Field(0, ge=0, description="Products to skip.")
    cursor: str | None = Field(
        None, max_length=500, description="`next_cursor` of the page before: this search goes on, on the same release."
    )
    rerank: bool = Field(True, description="Order by similarity and the shop's signals; false: by similarity alone.")
    max_per_category: int | None = Field(
        None, ge=0, le=100, description="Products of one category before others get their turn; 0: no cap."
    )
    sort: str | None = Field(
        None,
        max_length=200,
        description="Attribute to list the best 200 matches by, lowest first; with a - before it, highest first. "
        "Products without a value come last. Similarity and the shop's signals choose them and settle ties.",
    )
    diversity: Number = Field(
        0.0, ge=0, le=1, description="0: the best first; towards 1: the unlike first (maximal marginal relevance)."
    )
    collapse: Number | None = Field(
        None, ge=0.5, le=1, description="Fold products whose pictures are at least so similar into the best of them."
    )
    facets: list[str] = Field(
        default_factory=list, description="Attributes to count values of. Repeatable, or with commas."
    )
    multi_select: bool = Field(
        False, description="Count each facet without its own filter, for lists in which several values can be ticked."
    )
    recall: Number = Field(1.0, ge=1, le=16, description="Look so many times harder than the release's calibration.")
    explain: bool = Field(False, description="Tell how the search was done.")


class TextQuery(Common):
    """A search by words."""

    q: str = Field(min_length=1, description="What to look for, in words.")


class ImageOptions(Common):
    """What a search by pictures takes beside them, as form fields or in the URL."""

    crop: str | None = Field(None, description="x0,y0,x1,y1 from 0 to 1: only this part of each picture.")


class ImageForm(ImageOptions):
    """A search by pictures."""

    image: list[FileStorage] = Field(description="One or more pictures: JPEG, PNG, WebP, GIF, BMP or TIFF.")


class HybridOptions(ImageOptions):
    """What a search by pictures and words takes beside the pictures, as form fields or in the URL."""

    text: str | None = Field(None, min_length=1, description="Words; may be left out if there are pictures.")
    image_weight: Number = Field(0.7, ge=0, le=1, description="Weight of the pictures; the words have the rest.")


class HybridForm(HybridOptions):
    """A search by pictures and words together."""

    image: list[FileStorage] = Field(default_factory=list, description="Pictures; may be left out if there is text.")


class PicturePart(BaseModel):
    """A picture inside JSON."""

    model_config = ConfigDict(extra="forbid")

    data: str = Field(description="The file's bytes in base64; a data: URL is taken too.")
    crop: str | None = Field(default=None, description="x0,y0,x1,y1 from 0 to 1: only this part.")
    weight: Number = Field(default=1.0, gt=0, le=1000, description="Against the other pictures.")


class Weights(BaseModel):
    """How much each part of a mixed query counts. Parts that are not there count nothing."""

    model_config = ConfigDict(extra="forbid")

    text: Number = Field(default=1.0, ge=0, le=1000)
    images: Number = Field(default=1.0, ge=0, le=1000)
    vector: Number = Field(default=1.0, ge=0, le=1000)
    like: Number = Field(default=1.0, ge=0, le=1000)
    unlike: Number = Field(default=0.5, ge=0, le=1000, description="Taken away from the others.")


class GeneralQuery(Common):
    """A search by any mix of words, pictures, a vector, and products that the results are to be like or unlike."""

    text: str | None = Field(None, min_length=1, description="Words.")
    images: list[PicturePart | str] = Field(default_factory=list, description="Pictures, or just their base64.")
    vector: list[Number] | None = Field(
        None, max_length=65_536, description="A vector of the release's encoder; of any length but 0."
    )
    like: list[str] = Field(default_factory=list, max_length=100, description="Products that show what is wanted.")
    unlike: list[str] = Field(default_factory=list, max_length=100, description="Products that show what is not.")
    weights: Weights = Field(default_factory=Weights)


class BatchQuery(BaseModel):
    """Many searches in one call: the encoder and the index are called once for all of them."""

    model_config = ConfigDict(extra="forbid")

    searches: list[GeneralQuery] = Field(min_length=1)


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
    score: float = Field(description="Similarity and the shop's signals shared_dir.")
    picture: int = Field(description="Which of the product's pictures matched best: its place in the catalog's list.")
    duplicates: list[str] | None = Field(None, description="Products that `collapse` folded into this one.")
    score_parts: dict[str, float] | None = Field(None, description="What the score is the sum of; with `explain`.")


class FacetValue(BaseModel):
    """A value of an attribute."""

    value: str | int | bool
    count: int = Field(description="Products that have it, of all that pass the filters.")
    nearby: int = Field(description="Of these, how many are among the most similar: the best 100, or 200 if ranked.")


class FacetBand(FacetValue):
    """A band of numbers; `value` tells its limits in words."""

    minimum: float | None = Field(description="`filter_min` with it takes the band's products; null for the lowest.")
    below: float | None = Field(description="`filter_below` with it takes the band's products; null for the highest.")


class SearchAnswer(BaseModel):
    """What a search found."""

    results: list[Result]
    total_found: int = Field(description="Products that pass the filters.")
    query_time_ms: float
    search_id: str = Field(description="Names this search in logs and click events.")
    release: str = Field(description="The version that answered.")
    next_cursor: str | None = Field(None, description="For the next page, of the same release; null if there is none.")
    facets: dict[str, list[FacetBand | FacetValue]] | None = None
    explain: dict[str, Any] | None = None


class Failed(BaseModel):
    """A search of a batch that could not be answered; the others were."""

    problem: Problem


class BatchAnswer(BaseModel):
    """Answers in the order of the searches."""

    answers: list[SearchAnswer | Failed]
    query_time_ms: float


class Click(BaseModel):
    """Somebody chose a result."""

    model_config = ConfigDict(extra="forbid")

    search_id: str = Field(pattern="^[0-9a-f]{32}$", description="Of the answer that the product was in.")
    product_id: str = Field(min_length=1, max_length=10_000, description="What was chosen.")
    position: int = Field(ge=0, le=1_000_000, description="Its place in the whole list of results, from 0.")


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

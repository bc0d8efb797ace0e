"""What callers send: queries, forms, path parameters and events."""

from __future__ import annotations

import functools
from typing import Any

from flask_openapi.models.file import FileStorage
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat


@functools.cache
def _parsing_properties(model: type[BaseModel]) -> dict[str, Any]:
    """Property schemas that make flask-openapi pass a request's texts to the model unparsed."""
    properties = model.model_json_schema(by_alias=True)["properties"]
    text = {"type": "string"}
    return {name: schema if schema.get("type") == "array" else text for name, schema in properties.items()}


class Common(BaseModel):
    """What every search accepts. Unknown parameters are rejected, so that a misspelt filter is not ignored."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the JSON schema; without arguments only what flask-openapi needs to parse a request.

        flask-openapi 5 calls this without arguments on each request, to find out which fields are lists, and with
        arguments for the OpenAPI document. Two reasons not to give it the whole schema on each request: it takes longer
        to generate than a search takes, and flask-openapi parses a form field as JSON unless its type is string. The
        text "501" would arrive as a number, and a number of 5,000 digits would not arrive at all. As strings, form
        fields are validated by the model, exactly as parameters in the URL are.
        """
        if args or kwargs:
            return super().model_json_schema(*args, **kwargs)
        return {"properties": _parsing_properties(cls)}

    category: list[str] = Field(default_factory=list, description="Only products of these categories. Repeatable.")
    category_not: list[str] = Field(default_factory=list, description="No products of these categories. Repeatable.")
    brand: list[str] = Field(default_factory=list, description="Only products of these brands. Repeatable.")
    brand_not: list[str] = Field(default_factory=list, description="No products of these brands. Repeatable.")
    price_min: FiniteFloat | None = Field(None, description="Minimum price, inclusive; 0 is a price.")
    price_max: FiniteFloat | None = Field(None, description="Maximum price, inclusive.")
    filter: list[str] = Field(
        default_factory=list,
        description="name:value for any other attribute. Repeatable: values of one name are alternatives.",
    )
    filter_not: list[str] = Field(
        default_factory=list, description="name:value that products must not have. Repeatable."
    )
    filter_min: list[str] = Field(default_factory=list, description="name:value, an inclusive minimum. Repeatable.")
    filter_max: list[str] = Field(default_factory=list, description="name:value, an inclusive maximum. Repeatable.")
    filter_below: list[str] = Field(default_factory=list, description="name:value, an exclusive maximum. Repeatable.")
    missing: list[str] = Field(default_factory=list, description="Attributes that products must have no value for.")
    present: list[str] = Field(default_factory=list, description="Attributes that products must have a value for.")
    limit: int = Field(20, ge=1, le=100, description="Number of products to return.")
    offset: int = Field(0, ge=0, description="Number of products to skip.")
    cursor: str | None = Field(
        None, max_length=500, description="`next_cursor` of the previous page: continues that search on its release."
    )
    rerank: bool = Field(
        True, description="Order by similarity and the shop's signals; false orders by similarity alone."
    )
    max_per_category: int | None = Field(
        None, ge=0, le=100, description="Products of one category before other categories follow; 0 sets no cap."
    )
    sort: str | None = Field(
        None,
        max_length=200,
        description="Attribute to sort the best 200 matches by, lowest first; a leading - sorts highest first. "
        "Products without a value come last. Similarity and the shop's signals choose the matches and break ties.",
    )
    diversity: FiniteFloat = Field(
        0.0,
        ge=0,
        le=1,
        description="0 puts the best first; higher values favour products that differ from those before them "
        "(maximal marginal relevance).",
    )
    collapse: FiniteFloat | None = Field(
        None, ge=0.5, le=1, description="Fold products whose pictures are at least this similar into the best of them."
    )
    facets: list[str] = Field(
        default_factory=list, description="Attributes to count the values of. Repeatable, or separated by commas."
    )
    multi_select: bool = Field(
        False, description="Count each facet without its own filter, for lists that allow several values to be ticked."
    )
    recall: FiniteFloat = Field(
        1.0, ge=1, le=16, description="Search effort as a multiple of the release's calibration: slower, more exact."
    )
    explain: bool = Field(False, description="Explain how the search was run and how each score is made up.")


class TextQuery(Common):
    """A search by text."""

    q: str = Field(min_length=1, description="What to look for, in words.")


class ImageOptions(Common):
    """Options of a search by pictures, as form fields or in the URL."""

    crop: str | None = Field(None, description="x0,y0,x1,y1 from 0 to 1: use only this part of each picture.")


class ImageForm(ImageOptions):
    """A search by pictures."""

    image: list[FileStorage] = Field(description="One or more pictures: JPEG, PNG, WebP, GIF, BMP or TIFF.")


class HybridOptions(ImageOptions):
    """Options of a search by pictures and text, as form fields or in the URL."""

    text: str | None = Field(None, min_length=1, description="Text; optional if there are pictures.")
    image_weight: FiniteFloat = Field(0.7, ge=0, le=1, description="Weight of the pictures; the text gets the rest.")


class HybridForm(HybridOptions):
    """A search by pictures and text together."""

    image: list[FileStorage] = Field(default_factory=list, description="Pictures; optional if there is text.")


class PicturePart(BaseModel):
    """A picture inside JSON."""

    model_config = ConfigDict(extra="forbid")

    data: str = Field(description="The file's bytes in base64, or a data: URL.")
    crop: str | None = Field(default=None, description="x0,y0,x1,y1 from 0 to 1: use only this part.")
    weight: FiniteFloat = Field(default=1.0, gt=0, le=1000, description="Weight relative to the other pictures.")


class Weights(BaseModel):
    """Weights of the parts of a mixed query. Parts that the query does not have are ignored."""

    model_config = ConfigDict(extra="forbid")

    text: FiniteFloat = Field(default=1.0, ge=0, le=1000)
    images: FiniteFloat = Field(default=1.0, ge=0, le=1000)
    vector: FiniteFloat = Field(default=1.0, ge=0, le=1000)
    like: FiniteFloat = Field(default=1.0, ge=0, le=1000)
    unlike: FiniteFloat = Field(default=0.5, ge=0, le=1000, description="Subtracted from the other parts.")


class GeneralQuery(Common):
    """A search by any mix of text, pictures, a vector, and products that results should or should not resemble."""

    text: str | None = Field(None, min_length=1, description="Text to search by.")
    images: list[PicturePart | str] = Field(default_factory=list, description="Pictures, or just their base64.")
    vector: list[FiniteFloat] | None = Field(
        None, max_length=65_536, description="A vector of the release's encoder, of any length but 0."
    )
    like: list[str] = Field(default_factory=list, max_length=100, description="Ids of products to resemble.")
    unlike: list[str] = Field(default_factory=list, max_length=100, description="Ids of products not to resemble.")
    weights: Weights = Field(default_factory=Weights)


class BatchQuery(BaseModel):
    """Several searches in one call, which share one call of the encoder and one of the index."""

    model_config = ConfigDict(extra="forbid")

    searches: list[GeneralQuery] = Field(min_length=1)


class SimilarQuery(Common):
    """A search for products that look like a product."""

    limit: int = Field(10, ge=1, le=50, description="Number of products to return.")


class ProductPath(BaseModel):
    """The product that a path names."""

    product_id: str = Field(min_length=1, description="The product's id, as in the catalog.")


class PictureQuery(BaseModel):
    """Which picture of a product to return."""

    picture: int = Field(0, ge=0, le=10_000, description="Position of the picture in the product's list, from 0.")


class Click(BaseModel):
    """A click on a result."""

    model_config = ConfigDict(extra="forbid")

    search_id: str = Field(pattern="^[0-9a-f]{32}$", description="`search_id` of the answer with the product.")
    product_id: str = Field(min_length=1, max_length=10_000, description="The product that was clicked.")
    position: int = Field(ge=0, le=1_000_000, description="Its position in the whole list of results, from 0.")

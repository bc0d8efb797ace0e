"""The requests and answers of the HTTP API as pydantic models, which validate them and make up the OpenAPI document.

Start with `requests.Common`, which every search extends, and `answers.SearchAnswer`. The package imports nothing of the
project. It exports its models by name, so that callers do not depend on which of the two modules a model is in.
"""

from serving.schemas.answers import (
    BatchAnswer,
    EngineAnswer,
    FacetBand,
    FacetValue,
    Failed,
    Health,
    Problem,
    ProductAnswer,
    ProductModel,
    Readiness,
    ReleaseAnswer,
    Result,
    SearchAnswer,
)
from serving.schemas.requests import (
    BatchQuery,
    Click,
    Common,
    GeneralQuery,
    HybridForm,
    HybridOptions,
    ImageForm,
    ImageOptions,
    PicturePart,
    PictureQuery,
    ProductPath,
    SimilarQuery,
    TextQuery,
    Weights,
)

__all__ = [
    "BatchAnswer",
    "BatchQuery",
    "Click",
    "Common",
    "EngineAnswer",
    "FacetBand",
    "FacetValue",
    "Failed",
    "GeneralQuery",
    "Health",
    "HybridForm",
    "HybridOptions",
    "ImageForm",
    "ImageOptions",
    "PicturePart",
    "PictureQuery",
    "Problem",
    "ProductAnswer",
    "ProductModel",
    "ProductPath",
    "Readiness",
    "ReleaseAnswer",
    "Result",
    "SearchAnswer",
    "SimilarQuery",
    "TextQuery",
    "Weights",
]

"""Arrow schemas of every table that one step writes and another reads, and the reasons for rejecting a row.

catalog/shard-00042.parquet     one row per product          (catalog_schema)
catalog/rejects.parquet         one row per rejected product (REJECTS)
images/shard-00042.parquet      one row per picture          (IMAGES)
embeddings/<encoder>/shard-…    one row per distinct picture (embeddings_schema)
segment products.arrow          one row per indexed picture  (segment_schema)
segment state.parquet           one row per catalog picture  (STATE)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum

import pyarrow as pa

#: The format in which releases are written: bumped when an older build would misread what this one writes.
FORMAT_VERSION = 3

#: The formats that are read. Format 1 had no state of the catalog, and no deltas; segments of 1 and 2 had no parts.
READABLE_FORMATS = frozenset({1, 2, 3})

TIMESTAMP = pa.timestamp("us", tz="UTC")

#: The columns Lookalike knows by name. Any other column of a catalog is an attribute: stored, returned, filterable.
CATALOG_COLUMNS: dict[str, pa.DataType] = {
    "product_id": pa.string(),
    "image_url": pa.list_(pa.string()),
    "title": pa.string(),
    "category": pa.string(),
    "brand": pa.string(),
    "price": pa.float64(),
    "is_active": pa.bool_(),
    "popularity_score": pa.float64(),
    "conversion_rate": pa.float64(),
    "avg_rating": pa.float64(),
    "added_at": TIMESTAMP,
    "updated_at": TIMESTAMP,
}

#: Closed ranges of the numeric columns; a row with a value outside of them is rejected.
CATALOG_RANGES: dict[str, tuple[float, float]] = {
    "price": (0.0, float("inf")),
    "popularity_score": (0.0, 1.0),
    "conversion_rate": (0.0, 1.0),
    "avg_rating": (0.0, 5.0),
}

#: Types an attribute may have. Other types (nested, decimal, dates) are converted to the nearest of these.
ATTRIBUTE_TYPES = (pa.string(), pa.int64(), pa.float64(), pa.bool_(), TIMESTAMP)

#: Column of a catalog shard: uint64, the digest of the product's attributes as STATE has it.
ATTRIBUTES_DIGEST = "attributes_digest"
#: Further columns of changed products: uint64, the digest of the list of pictures as STATE has it, and the kind of
#: the change, see `jobs.catalog.changes`.
PICTURES_DIGEST = "pictures_digest"
CHANGE_KIND = "change_kind"

#: Names of columns and answer fields that Lookalike adds; an attribute may not have them.
RESERVED_COLUMNS = frozenset(
    {"row", "picture", "similarity_score", "score", "shard", ATTRIBUTES_DIGEST, PICTURES_DIGEST, CHANGE_KIND}
)


class Reason(StrEnum):
    """Why a row is not in the index. A row has one reason, the first that applies."""

    # the catalog row itself
    MISSING_PRODUCT_ID = "missing_product_id"
    DUPLICATE_PRODUCT_ID = "duplicate_product_id"
    INACTIVE = "inactive"
    MISSING_IMAGE_URL = "missing_image_url"
    BAD_VALUE = "bad_value"
    UNREADABLE_ROW = "unreadable_row"
    # fetching the picture
    BAD_URL = "bad_url"
    OUTSIDE_CATALOG = "outside_catalog"
    BLOCKED_ADDRESS = "blocked_address"
    FILE_NOT_FOUND = "file_not_found"
    HTTP_CLIENT_ERROR = "http_client_error"
    HTTP_SERVER_ERROR = "http_server_error"
    CONNECTION_FAILED = "connection_failed"
    TIMEOUT = "timeout"
    TOO_MANY_BYTES = "too_many_bytes"
    # the content of the picture
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED_IMAGE = "truncated_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    # the vector
    BAD_EMBEDDING = "bad_embedding"


#: Reasons that may not apply on the next run: only such pictures are fetched again.
TRANSIENT_REASONS = frozenset({Reason.HTTP_SERVER_ERROR, Reason.CONNECTION_FAILED, Reason.TIMEOUT})

#: Rejected on the shop's request, not for a fault: not counted against `max_reject_rate`.
EXPECTED_REASONS = frozenset({Reason.INACTIVE})

REJECTS = pa.schema(
    [
        pa.field("input_row", pa.int64()),  # 1-based row of the catalog; null where only the row's id is known
        pa.field("product_id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),  # names the field and the value
    ]
)

#: Status of a picture that could be used; any other status is a Reason.
OK = "ok"

IMAGES = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("picture", pa.int32(), nullable=False),  # position in the product's list of pictures, from 0
        pa.field("url", pa.string(), nullable=False),  # as the catalog names it
        pa.field("status", pa.string(), nullable=False),  # "ok" or a Reason
        pa.field("detail", pa.string()),  # what went wrong, as a sentence; null when ok
        pa.field("sha256", pa.string()),  # of `jpeg`: the key of the embedding cache; null unless ok
        pa.field("jpeg", pa.binary()),  # upright RGB, shrunk to picture_side; null unless ok
        pa.field("width", pa.int32()),  # px, of `jpeg`
        pa.field("height", pa.int32()),
        pa.field("source_sha256", pa.string()),  # of the bytes before they were decoded
        pa.field("source_bytes", pa.int64()),
        pa.field("stamp", pa.string()),  # of a local file: size and mtime, to detect an edit; null for a URL
        pa.field("etag", pa.string()),  # what the server named this version of the picture; null if it did not
        pa.field("last_modified", pa.string()),  # as the server wrote it; null after redirects
        pa.field("fetched_at", TIMESTAMP),  # when the server last sent or confirmed it; null for a file, and unless ok
    ]
)


#: Status of a product that was deleted; its state remembers when, so that an older event does not bring it back.
DELETED = "deleted"

#: What the catalog said of every product when a segment was written, and where its pictures ended: what a refresh
#: compares the catalog with. The pictures of one product are next to each other. Digests are `digest64` of texts.
STATE = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("first", pa.bool_(), nullable=False),  # true on the first row of each product
        pa.field("status", pa.string(), nullable=False),  # OK, a Reason, or DELETED
        pa.field("picture", pa.int32()),  # position in the product's list of pictures; null if DELETED
        pa.field("row", pa.int64()),  # of the segment; null unless OK
        pa.field("in_delta", pa.bool_(), nullable=False),  # whether `row` is one of the delta, or of its base
        pa.field("source", pa.uint64()),  # digest of the picture's URL and stamp, see `picture_source`
        pa.field("sha256", pa.binary(16)),  # first half of the sha256 of the stored JPEG; null unless OK
        pa.field("attributes", pa.uint64()),  # digest of the product's attributes
        pa.field("pictures", pa.uint64()),  # digest of the product's list of sources
        pa.field("updated_at", TIMESTAMP),  # event time of the row or event that said so; null if it gave none
        pa.field("applied_at", TIMESTAMP, nullable=False),  # when its source was read
    ]
)


def digest64(text: str) -> int:
    """Return the first 64 bits of a text's md5; in SQL `('0x' || substr(md5(text), 1, 16))::UBIGINT`."""
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:16], 16)


def picture_source(url: str, stamp: str | None) -> int:
    """Return the digest of a picture's URL and stamp: the same source gives the same picture.

    Args:
        stamp: size and mtime of a local file; None for a URL.
    """
    return digest64(f"{url}\t{stamp or ''}")


def picture_list(pictures: Sequence[tuple[str, str | None]]) -> int:
    """Return the digest of a product's pictures, given the (URL, stamp) of each in order."""
    return digest64("\n".join(f"{url}\t{stamp or ''}" for url, stamp in pictures))


def catalog_schema(attributes: dict[str, pa.DataType]) -> pa.Schema:
    """Return the schema of a catalog shard: the known columns, the catalog's own attributes in their order, the digest.

    Args:
        attributes: column name -> type, one of ATTRIBUTE_TYPES.
    """
    fields = [pa.field(name, dtype, nullable=name != "product_id") for name, dtype in CATALOG_COLUMNS.items()]
    fields += [pa.field(name, dtype) for name, dtype in attributes.items()]
    return pa.schema([*fields, pa.field(ATTRIBUTES_DIGEST, pa.uint64(), nullable=False)])


def changes_schema(attributes: dict[str, pa.DataType]) -> pa.Schema:
    """Return the schema of changed products: that of a catalog shard, then PICTURES_DIGEST and CHANGE_KIND.

    Args:
        attributes: column name -> type, one of ATTRIBUTE_TYPES.
    """
    further = [
        pa.field(PICTURES_DIGEST, pa.uint64(), nullable=False),
        pa.field(CHANGE_KIND, pa.string(), nullable=False),
    ]
    return pa.schema([*catalog_schema(attributes), *further])


#: Products that a refresh deletes.
DELETIONS = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("updated_at", TIMESTAMP),  # event time of the deletion; null if unknown
    ]
)


def embeddings_schema(dim: int) -> pa.Schema:
    """Return the schema of an embeddings shard; `vector` is L2-normalised, and null where `status` is a Reason."""
    return pa.schema(
        [
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float16(), dim)),
        ]
    )


def attributes_of(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Return the attributes in a catalog or segment schema, the columns not known by name, with their types."""
    return {
        field.name: field.type
        for field in schema
        if field.name not in CATALOG_COLUMNS and field.name not in RESERVED_COLUMNS
    }


def segment_schema(attributes: dict[str, pa.DataType]) -> pa.Schema:
    """Return the schema of a segment's product rows: one row per indexed picture, in the order of the vectors.

    Text is large_string: a batch of 100 million titles is over the 2 GiB that 32-bit offsets reach.

    Args:
        attributes: column name -> type, one of ATTRIBUTE_TYPES.
    """

    def wide(dtype: pa.DataType) -> pa.DataType:
        return pa.large_string() if dtype == pa.string() else dtype

    fields = [
        pa.field("product_id", pa.large_string(), nullable=False),
        pa.field("picture", pa.int32(), nullable=False),
        pa.field("image_url", pa.large_string(), nullable=False),
    ]
    known = [name for name in CATALOG_COLUMNS if name not in ("product_id", "image_url", "is_active")]
    fields += [pa.field(name, wide(CATALOG_COLUMNS[name])) for name in known]
    return pa.schema(fields + [pa.field(name, wide(dtype)) for name, dtype in attributes.items()])


def shard_of(product_id: str, shards: int) -> int:
    """Return the shard of a product, 0 … shards-1: the first 8 hex digits of its id's md5, modulo `shards`.

    Python's and DuckDB's own hashes change between processes and versions; md5 is the same everywhere, and in SQL
    it is `('0x' || substr(md5(product_id), 1, 8))::UBIGINT % shards`.
    """
    digest = hashlib.md5(product_id.encode(), usedforsecurity=False).hexdigest()
    return int(digest[:8], 16) % shards


def is_http(url: str) -> bool:
    """Return whether a browser can fetch a picture by its URL; other pictures are files beside the catalog."""
    return url.lower().startswith(("http://", "https://"))

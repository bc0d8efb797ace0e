"""Digests of a product's attributes and pictures, as SQL; a refresh compares them with those of the served release.

The digest of the attributes is `artifacts.schema.digest64` of one line `name TAB bytes:value` for each column that is
not null, in the order of the names; `bytes` is the length of the value in UTF-8, so that two different products never
give the same text. A value is written alike whatever the type of its column is, because the type of an attribute may
differ between two readings of a catalog: 10, 10.0 and '10' are all `10`.
"""

from __future__ import annotations

from collections.abc import Mapping

from artifacts.products.sql import text_literal

#: Columns that are no part of the attributes' digest: the key, the pictures, and what every accepted row agrees in.
NOT_DIGESTED = frozenset({"product_id", "image_url", "is_active"})

_HTTP = r"https?://[^\t\n]*"
_HTTP_LIST = text_literal(rf"(?i)(?:{_HTTP}\t\n)*{_HTTP}")

#: Doubles below are exact whole numbers.
_EXACT = 2**53


def digest64_sql(text: str) -> str:
    """Build `artifacts.schema.digest64` of an SQL expression of a text."""
    return f"('0x' || substr(md5({text}), 1, 16))::UBIGINT"


def attributes_digest_sql(columns: Mapping[str, tuple[str, str]]) -> str:
    """Build the digest of a product's attributes.

    Args:
        columns: name of the column -> its SQL expression and DuckDB type.
    """
    lines = []
    for name, (expression, duckdb_type) in sorted(columns.items()):
        value = _value_text_sql(expression, duckdb_type)
        start = text_literal(f"{name}\t")
        lines.append(f"{start} || strlen({value}) || ':' || {value} || chr(10)")
    return digest64_sql(f"concat({', '.join(lines)})")  # concat leaves nulls out


def _value_text_sql(expression: str, duckdb_type: str) -> str:
    if duckdb_type == "DOUBLE":  # a column that was BIGINT becomes DOUBLE with its first fraction
        whole = f"{expression} = trunc({expression}) AND abs({expression}) < {_EXACT}"
        return f"CASE WHEN {whole} THEN {expression}::BIGINT::VARCHAR ELSE {expression}::VARCHAR END"
    return expression if duckdb_type == "VARCHAR" else f"{expression}::VARCHAR"


def pictures_digest_sql(urls: str) -> str:
    """Build `artifacts.schema.picture_list` of a list of one or more URLs without stamps."""
    return digest64_sql(f"{_joined_sql(urls)} || chr(9)")


def all_http_sql(urls: str) -> str:
    """Tell whether all URLs of a list are absolute http or https; such pictures have no stamps."""
    return f"regexp_full_match({_joined_sql(urls)}, {_HTTP_LIST})"


def _joined_sql(urls: str) -> str:
    return f"array_to_string({urls}, chr(9) || chr(10))"  # a lambda over the list takes five times as long

"""What makes a catalog row good, as SQL over the staging: one reason per rejected row, the first that applies.

    unreadable_row → missing_product_id / bad_value of the id → duplicate_product_id → inactive → bad_value
    → missing_image_url

Then the attributes' types, over the good rows, and the good rows themselves, typed, by shard and product_id.
"""

from __future__ import annotations

# ruff: noqa: S608 — what is put into the SQL is our own names, numbers and literal(); never a value of the catalog.
import math

import duckdb

from artifacts.schema import CATALOG_COLUMNS, CATALOG_RANGES, Reason
from jobs.catalog.staging import Staging, literal, run_sql

#: Raise when a rule changes: what was validated by the old rules is validated again.
RULES = 1

MAX_ID = 512
MAX_PICTURES = 1000  # of one product
TIMES = ("added_at", "updated_at")
YES = ("true", "t", "yes", "1", "1.0")
NO = ("false", "f", "no", "0", "0.0")
_SPACE = literal(" \t\r\n\f\v\u00a0\u3000\ufeff")
_NUMBER = literal(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)(E[+-]?[0-9]+)?")
_ZONE = r"\s?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)"
_TIME = literal(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]+)?)?({_ZONE})?)?")
YEARS = "BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"


def clean(value: str) -> str:
    """Text without blanks around it; blank text is null."""
    # Most values are clean already, and trimming by a set of letters is the slowest thing in this file.
    suspect = f"{value} < '!' OR {value} > '~' OR right({value}, 1) NOT BETWEEN '!' AND '~'"
    return f"CASE WHEN {suspect} THEN nullif(trim({value}, {_SPACE}), '') ELSE {value} END"


def truncate(value: str) -> str:
    """A value as a reject's detail shows it: one line, at most 80 characters."""
    line = rf"regexp_replace(left({value}, 81), '\p{{Cc}}', '{chr(0xFFFD)}', 'g')"
    return f"CASE WHEN length({value}) > 80 THEN left({line}, 79) || '…' ELSE {line} END"


def number(name: str) -> str:
    # Infinity stands for "written as a number, but too large"; + 0.0 turns -0 into 0.
    return f"CASE WHEN regexp_full_match(upper({name}), {_NUMBER}) THEN TRY_CAST({name} AS DOUBLE) + 0.0 END"


def moment(name: str) -> str:
    text = f"upper({name})"
    return f"CASE WHEN regexp_full_match({text}, {_TIME}) THEN TRY_CAST({text} AS TIMESTAMPTZ) END"


def pictures(name: str) -> str:
    """The pictures named by a cell: one, or a JSON list; blanks and repetitions dropped, order kept."""
    texts = f"""from_json({name}, '["VARCHAR"]')::VARCHAR[]"""
    items = f"list_filter(list_transform({texts}, lambda u: {clean('u')}), lambda u: u IS NOT NULL)"
    return f"""CASE WHEN {name} IS NULL THEN [] WHEN NOT {_is_json_list(name)} THEN [{name}]
        WHEN json_array_length({name}) > {MAX_PICTURES} THEN [] -- rejected anyway, and the next line is quadratic
        ELSE list_filter({items}, lambda u, i: list_position({items}, u) = i) END"""


def _is_json_list(name: str) -> str:
    # CASE and not AND: json_type fails on what is not JSON, and only CASE promises an order.
    return f"CASE WHEN starts_with({name}, '[') AND json_valid({name}) THEN json_type({name}) = 'ARRAY' ELSE false END"


def cells_query(staging: Staging) -> str:
    """The staged rows with their cells by name; attribute j is a<j>."""
    known = staging.columns.known
    cells = [f"{clean(f'c{known[name]}') if name in known else 'NULL::VARCHAR'} AS {name}" for name in CATALOG_COLUMNS]
    cells += [f"c{place} AS a{index}" for index, place in enumerate(staging.columns.attributes.values())]
    return f"(SELECT _row, _unreadable, {', '.join(cells)} FROM read_parquet({literal(staging.path)}))"


def values_query(staging: Staging) -> str:
    """The cells, and beside them what they say as <name>_value: worked out once, however often it is looked at."""
    known = staging.columns.known
    values = [f"{number(name) if name in known else 'NULL::DOUBLE'} AS {name}_value" for name in CATALOG_RANGES]
    values += [f"{moment(name) if name in known else 'NULL::TIMESTAMPTZ'} AS {name}_value" for name in TIMES]
    return f"(SELECT *, {', '.join(values)}, {pictures('image_url')} AS image_url_value FROM {cells_query(staging)})"


# ── rejects ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _reject(reason: Reason, condition: str, *detail: str) -> str:
    verdict = f"struct_pack(reason := {literal(reason)}, detail := concat({', '.join(detail)}))"
    return f"CASE WHEN {condition} THEN {verdict} END"


def _bad(name: str, condition: str, what: str) -> str:
    return _reject(Reason.BAD_VALUE, f"{name} IS NOT NULL AND {condition}", f"'{name}: '", truncate(name), what)


def _checks(known: dict[str, int]) -> list[str]:
    yes, no = (", ".join(map(literal, words)) for words in (YES, NO))
    checks = [
        _reject(Reason.UNREADABLE_ROW, "_unreadable IS NOT NULL", "_unreadable"),
        _reject(Reason.MISSING_PRODUCT_ID, "product_id IS NULL", "'product_id is empty'"),
        _bad("product_id", f"length(product_id) > {MAX_ID}", literal(f" is longer than {MAX_ID} characters")),
        _bad("product_id", r"regexp_matches(product_id, '\p{Cc}')", literal(" has control characters")),
        _reject(
            Reason.DUPLICATE_PRODUCT_ID, "_row > first_row",
            "'product_id: '", truncate("product_id"), "' is already in row '", "first_row",
        ),
        _reject(Reason.INACTIVE, f"lower(is_active) IN ({no})", "'is_active: '", "is_active"),
        _bad("is_active", f"lower(is_active) NOT IN ({yes})", literal(" is neither true nor false")),
    ]  # fmt: skip
    for name, (low, high) in CATALOG_RANGES.items():
        value = f"{name}_value"
        what = f"""CASE WHEN {value} IS NULL THEN ' is not a number' WHEN isinf({value}) THEN ' is too large'
            WHEN {value} < {low} THEN ' is below {low:g}' ELSE ' is above {high:g}' END"""
        top = f"{value} > {high}" if math.isfinite(high) else f"isinf({value})"
        checks.append(_bad(name, f"({value} IS NULL OR {value} < {low} OR {top})", what))
    for name in TIMES:
        what = " is not an ISO 8601 date or time, such as 2025-01-31 or 2025-01-31T12:00:00Z"
        checks.append(_bad(name, f"({name}_value {YEARS}) IS NOT TRUE", literal(what)))
    is_list = _is_json_list("image_url")
    texts_only = "len(list_filter(json_type(image_url, '$[*]'), lambda t: t NOT IN ('VARCHAR', 'NULL'))) = 0"
    checks += [
        _bad(
            "image_url",
            f"NOT ({is_list}) AND regexp_matches(image_url, '^\\[\\s*\"')",
            literal(" is a broken JSON list"),
        ),
        _bad(
            "image_url",
            f"CASE WHEN {is_list} THEN NOT ({texts_only}) ELSE false END",
            literal(" is not a list of texts"),
        ),
        _bad(
            "image_url",
            f"CASE WHEN {is_list} THEN json_array_length(image_url) > {MAX_PICTURES} ELSE false END",
            literal(f" has more than {MAX_PICTURES} pictures"),
        ),
        _reject(Reason.MISSING_IMAGE_URL, "len(image_url_value) = 0", "'image_url is empty'"),
    ]
    # A column that the catalog does not have cannot be wrong in it; product_id and image_url are always there.
    absent = {name for name in CATALOG_COLUMNS if name not in known}
    return [check for check in checks if not any(f"'{name}: '" in check for name in absent)]


def validate_rows(staging: Staging) -> dict[str, int]:
    """Make the table `rejected` (_row, product_id, reason, detail) and return its rows by reason."""
    cells = cells_query(staging)
    run_sql(
        staging.con,
        f"""CREATE TABLE first_seen AS SELECT product_id, min(_row) AS first_row FROM {cells}
            WHERE product_id IS NOT NULL AND length(product_id) <= {MAX_ID} GROUP BY product_id HAVING count(*) > 1""",
    )
    run_sql(
        staging.con,
        f"""CREATE TABLE rejected AS
            SELECT _row, left(product_id, {MAX_ID}) AS product_id, verdict.reason AS reason, verdict.detail AS detail
            FROM (SELECT _row, product_id, coalesce({", ".join(_checks(staging.columns.known))}) AS verdict
                  FROM {values_query(staging)} LEFT JOIN first_seen USING (product_id))
            WHERE verdict IS NOT NULL""",
    )
    counts = run_sql(staging.con, "SELECT reason, count(*) FROM rejected GROUP BY reason ORDER BY reason")
    return {str(reason): int(count) for reason, count in counts}


def example(con: duckdb.DuckDBPyConnection, reason: str) -> str:
    """The first row that was rejected for the reason, for a message."""
    ((row, detail),) = run_sql(
        con, "SELECT _row, detail FROM rejected WHERE reason = ? ORDER BY _row LIMIT 1", [reason]
    )
    return f"row {row:,}: {detail}"

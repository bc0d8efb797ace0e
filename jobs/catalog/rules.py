"""The rules that a catalog row has to meet, as SQL over the staging file.

Each rejected row has one reason, the first that applies in this order:

    unreadable_row → missing_product_id / bad_value of the id → duplicate_product_id → inactive → bad_value
    → missing_image_url

In a source of changes several rows of one product are no error: the last of them is the one that counts, the others are
superseded (`_supersede_rows`). There a bad updated_at comes before inactive, because it says when a deletion was.

The functions named …_sql build an SQL expression from another; `cells_query` and `values_query` build the
subqueries that the rules, the attribute types and the accepted rows are computed from.
"""

from __future__ import annotations

# ruff: noqa: S608 — the SQL is built from constants, numbers and text_literal(), never from a catalog's values.
import math
from collections.abc import Sequence

import duckdb
import pyarrow as pa

from artifacts.products.sql import text_literal
from artifacts.schema import CATALOG_COLUMNS, CATALOG_RANGES, Reason
from jobs.catalog.staging import DELETED_COLUMN, Staging, parquet_file_sql, run_sql

#: Version of the rules. Raise it when a rule changes: catalogs validated by the old rules are then validated again.
RULES = 3

MAX_ID_CHARS = 512
MAX_PICTURES = 1000  # of one product
TIMESTAMP_COLUMNS = ("added_at", "updated_at")
TRUE_WORDS = ("true", "t", "yes", "1", "1.0")
FALSE_WORDS = ("false", "f", "no", "0", "0.0")
VALID_YEARS = "BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"
#: Leaves out the rows that are not accepted.
WITHOUT_LEFT_OUT = "ANTI JOIN rejected USING (_row) ANTI JOIN superseded USING (_row)"
_WHITESPACE = text_literal(" \t\r\n\f\v\u00a0\u3000\ufeff")
_NUMBER = text_literal(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)(E[+-]?[0-9]+)?")
_ZONE = r"\s?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)"
_TIMESTAMP = text_literal(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]+)?)?({_ZONE})?)?"
)


def clean_sql(value: str) -> str:
    """Trim whitespace; blank text becomes null."""
    # Most values are clean already, and trimming by a set of letters is the slowest expression in this module.
    suspect = f"{value} < '!' OR {value} > '~' OR right({value}, 1) NOT BETWEEN '!' AND '~'"
    return f"CASE WHEN {suspect} THEN nullif(trim({value}, {_WHITESPACE}), '') ELSE {value} END"


def truncate_sql(value: str) -> str:
    """Shorten a text for a reject's detail: one line of at most 80 characters."""
    line = rf"regexp_replace(left({value}, 81), '\p{{Cc}}', '{chr(0xFFFD)}', 'g')"
    return f"CASE WHEN length({value}) > 80 THEN left({line}, 79) || '…' ELSE {line} END"


def number_sql(text: str) -> str:
    """Parse a number as a DOUBLE: infinity if it is too large for one, null if the text is not a number."""
    # + 0.0 turns -0 into 0.
    return f"CASE WHEN regexp_full_match(upper({text}), {_NUMBER}) THEN TRY_CAST({text} AS DOUBLE) + 0.0 END"


def timestamp_sql(text: str) -> str:
    """Parse an ISO 8601 date or time as a TIMESTAMPTZ; null if the text is neither."""
    upper = f"upper({text})"
    return f"CASE WHEN regexp_full_match({upper}, {_TIMESTAMP}) THEN TRY_CAST({upper} AS TIMESTAMPTZ) END"


def picture_list_sql(cell: str) -> str:
    """Parse a cell, one picture or a JSON list of them, as VARCHAR[]: in order, without blanks and repetitions."""
    texts = f"""from_json({cell}, '["VARCHAR"]')::VARCHAR[]"""
    items = f"list_filter(list_transform({texts}, lambda u: {clean_sql('u')}), lambda u: u IS NOT NULL)"
    return f"""CASE WHEN {cell} IS NULL THEN [] WHEN NOT {_is_json_list_sql(cell)} THEN [{cell}]
        WHEN json_array_length({cell}) > {MAX_PICTURES} THEN [] -- rejected anyway, and the next line is quadratic
        ELSE list_filter({items}, lambda u, i: list_position({items}, u) = i) END"""


def _is_json_list_sql(cell: str) -> str:
    # CASE and not AND: json_type fails on text that is not JSON, and only CASE guarantees the order of evaluation.
    return f"CASE WHEN starts_with({cell}, '[') AND json_valid({cell}) THEN json_type({cell}) = 'ARRAY' ELSE false END"


def cells_query(staging: Staging, only: str | None = None) -> str:
    """Select the staged rows with the known columns' cells by name; attribute j is a<j>.

    Args:
        only: table with the column _row of the rows to select; all by default.
    """
    known = staging.columns.known
    cells = [
        f"{clean_sql(f'c{known[name]}') if name in known else 'NULL::VARCHAR'} AS {name}" for name in CATALOG_COLUMNS
    ]
    cells.append(
        f"{clean_sql(f'c{known[DELETED_COLUMN]}') if DELETED_COLUMN in known else 'NULL::VARCHAR'} AS _deleted"
    )
    cells += [f"c{cell} AS a{index}" for index, cell in enumerate(staging.columns.attributes.values())]
    rows = parquet_file_sql(staging.path) + (f" SEMI JOIN {only} USING (_row)" if only else "")
    return f"(SELECT _row, _unreadable, {', '.join(cells)} FROM {rows})"


def values_query(staging: Staging, only: str | None = None) -> str:
    """Select the cells and, as <name>_value, their parsed values, so that each is parsed only once.

    Args:
        only: as of cells_query.
    """
    known = staging.columns.known
    values = [f"{number_sql(name) if name in known else 'NULL::DOUBLE'} AS {name}_value" for name in CATALOG_RANGES]
    values += [
        f"{timestamp_sql(name) if name in known else 'NULL::TIMESTAMPTZ'} AS {name}_value" for name in TIMESTAMP_COLUMNS
    ]
    pictures = f"{picture_list_sql('image_url')} AS image_url_value"
    return f"(SELECT *, {', '.join(values)}, {pictures} FROM {cells_query(staging, only)})"


def _reject_sql(reason: Reason, condition: str, *detail: str) -> str:
    """Build STRUCT(reason, detail) where the condition holds, else null; `detail` are expressions to concatenate."""
    reject = f"struct_pack(reason := {text_literal(reason)}, detail := concat({', '.join(detail)}))"
    return f"CASE WHEN {condition} THEN {reject} END"


def _bad_value_sql(column: str, condition: str, problem: str) -> str:
    """Reject a column's value; `problem` is an SQL expression of the text that follows the value in the detail."""
    return _reject_sql(
        Reason.BAD_VALUE, f"{column} IS NOT NULL AND {condition}", f"'{column}: '", truncate_sql(column), problem
    )


def _reject_rules(staging: Staging) -> list[str]:
    """Return the rules in order, as expressions of _reject_sql; columns that the catalog lacks need none."""
    known = staging.columns.known
    rules = [
        _reject_sql(Reason.UNREADABLE_ROW, "_unreadable IS NOT NULL", "_unreadable"),
        _reject_sql(Reason.MISSING_PRODUCT_ID, "product_id IS NULL", "'product_id is empty'"),
        _bad_value_sql(
            "product_id",
            f"length(product_id) > {MAX_ID_CHARS}",
            text_literal(f" is longer than {MAX_ID_CHARS} characters"),
        ),
        _bad_value_sql("product_id", r"regexp_matches(product_id, '\p{Cc}')", text_literal(" has control characters")),
    ]
    if staging.changes_only:
        rules += _timestamp_rules([name for name in ("updated_at",) if name in known])
    else:
        detail = ("'product_id: '", truncate_sql("product_id"), "' is already in '", "first_place")
        rules.append(_reject_sql(Reason.DUPLICATE_PRODUCT_ID, "_row > first_row", *detail))
    true_words, false_words = (", ".join(map(text_literal, words)) for words in (TRUE_WORDS, FALSE_WORDS))
    if DELETED_COLUMN in known:
        rules += [
            _reject_sql(Reason.INACTIVE, f"lower(_deleted) IN ({true_words})", "'deleted: '", "_deleted"),
            _reject_sql(
                Reason.BAD_VALUE, f"lower(_deleted) NOT IN ({false_words})", "'deleted: '", truncate_sql("_deleted"),
                text_literal(" is neither true nor false; rename the column if it is an attribute"),
            ),
        ]  # fmt: skip
    if "is_active" in known:
        rules += [
            _reject_sql(Reason.INACTIVE, f"lower(is_active) IN ({false_words})", "'is_active: '", "is_active"),
            _bad_value_sql(
                "is_active",
                f"lower(is_active) NOT IN ({true_words})",
                text_literal(" is neither true nor false"),
            ),
        ]
    rules += [_range_rule(name, low, high) for name, (low, high) in CATALOG_RANGES.items() if name in known]
    rules += _timestamp_rules([name for name in TIMESTAMP_COLUMNS if name in known])
    return rules + _picture_rules()


def _timestamp_rules(names: Sequence[str]) -> list[str]:
    problem = text_literal(" is not an ISO 8601 date or time, such as 2025-01-31 or 2025-01-31T12:00:00Z")
    return [_bad_value_sql(name, f"({name}_value {VALID_YEARS}) IS NOT TRUE", problem) for name in names]


def _range_rule(name: str, low: float, high: float) -> str:
    value = f"{name}_value"
    problem = f"""CASE WHEN {value} IS NULL THEN ' is not a number' WHEN isinf({value}) THEN ' is too large'
        WHEN {value} < {low} THEN ' is below {low:g}' ELSE ' is above {high:g}' END"""
    too_large = f"{value} > {high}" if math.isfinite(high) else f"isinf({value})"
    return _bad_value_sql(name, f"({value} IS NULL OR {value} < {low} OR {too_large})", problem)


def _picture_rules() -> list[str]:
    is_list = _is_json_list_sql("image_url")
    only_texts = "len(list_filter(json_type(image_url, '$[*]'), lambda t: t NOT IN ('VARCHAR', 'NULL'))) = 0"
    return [
        _bad_value_sql(
            "image_url",
            f"NOT ({is_list}) AND regexp_matches(image_url, '^\\[\\s*\"')",
            text_literal(" is a broken JSON list"),
        ),
        _bad_value_sql(
            "image_url",
            f"CASE WHEN {is_list} THEN NOT ({only_texts}) ELSE false END",
            text_literal(" is not a list of texts"),
        ),
        _bad_value_sql(
            "image_url",
            f"CASE WHEN {is_list} THEN json_array_length(image_url) > {MAX_PICTURES} ELSE false END",
            text_literal(f" has more than {MAX_PICTURES} pictures"),
        ),
        _reject_sql(Reason.MISSING_IMAGE_URL, "len(image_url_value) = 0", "'image_url is empty'"),
    ]


def validate_rows(staging: Staging) -> dict[str, int]:
    """Create the tables of the rows that are not accepted.

    rejected     _row, product_id, reason, detail, and `place`, which says where the row is, as in an example
    superseded   _row; of changes only

    Returns:
        The number of rejected rows by reason.
    """
    con = staging.con
    place, parts = _place_sql(staging, "first_row")
    run_sql(
        con,
        f"""CREATE TABLE first_seen AS SELECT product_id, first_row, {place} AS first_place
            FROM (SELECT product_id, min(_row) AS first_row FROM {cells_query(staging)}
                WHERE product_id IS NOT NULL AND length(product_id) <= {MAX_ID_CHARS}
                GROUP BY product_id HAVING count(*) > 1) {parts}""",
    )
    rules = ", ".join(_reject_rules(staging))
    place, parts = _place_sql(staging, "_row")
    run_sql(
        con,
        f"""CREATE TABLE rejected AS
            SELECT _row, left(product_id, {MAX_ID_CHARS}) AS product_id, reject.reason AS reason,
                {f"concat({place}, ': ', reject.detail)" if parts else "reject.detail"} AS detail,
                {place} AS place
            FROM (SELECT _row, product_id, coalesce({rules}) AS reject
                  FROM {values_query(staging)} LEFT JOIN first_seen USING (product_id)) {parts}
            WHERE reject IS NOT NULL""",
    )
    run_sql(con, "CREATE TABLE superseded (_row BIGINT)")
    if staging.changes_only:
        _supersede_rows(staging)
    counts = run_sql(con, "SELECT reason, count(*) FROM rejected GROUP BY reason ORDER BY reason")
    return {str(reason): int(count) for reason, count in counts}


def _place_sql(staging: Staging, row: str) -> tuple[str, str]:
    """Build the text that says where a row is, and the join that it needs: none if the source is one file."""
    if not any(name for name, _ in staging.parts):
        return f"concat('row ', {row})", ""
    starts = {start: name for name, start in staging.parts}  # of parts without rows, only the last one is left
    staging.con.register("parts", pa.table({"start": pa.array(starts, pa.int64()), "part": list(starts.values())}))
    return f"concat(part, ', row ', {row} - start + 1)", f"ASOF JOIN parts ON {row} >= start"


def _supersede_rows(staging: Staging) -> None:
    """Take rows that a later row of the same product replaces out of `rejected`, and put them into `superseded`.

    The row with the latest updated_at counts, of equal ones the last. Where one of two rows has no updated_at, nothing
    but their order tells which is later: so nothing before the last such row counts.
    """
    con = staging.con
    run_sql(
        con,
        f"""INSERT INTO superseded SELECT _row FROM (
                SELECT _row, row_number() OVER (PARTITION BY product_id
                    ORDER BY _row >= last_untimed DESC, time DESC NULLS LAST, _row DESC) AS position
                FROM (SELECT _row, product_id, updated_at_value AS time, coalesce(
                        max(_row) FILTER (updated_at_value IS NULL) OVER (PARTITION BY product_id), 0) AS last_untimed
                    FROM {values_query(staging)} SEMI JOIN first_seen USING (product_id)
                    ANTI JOIN (SELECT _row FROM rejected WHERE reason <> '{Reason.INACTIVE}') USING (_row)))
            WHERE position > 1""",
    )
    run_sql(con, "DELETE FROM rejected WHERE _row IN (SELECT _row FROM superseded)")


def example(con: duckdb.DuckDBPyConnection, reason: str) -> str:
    """Describe the first row rejected for a reason, as an example in an error message."""
    ((place, detail),) = run_sql(
        con, "SELECT place, detail FROM rejected WHERE reason = ? ORDER BY _row LIMIT 1", [reason]
    )
    return detail if detail.startswith(f"{place}: ") else f"{place}: {detail}"

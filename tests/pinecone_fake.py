"""A Pinecone index on 127.0.0.1: it keeps what is written, and scores exactly.

Requests and its own answers are checked with `pinecone_openapi.yaml`, and what Pinecone's documentation says in prose
is checked here: bytes of a request and of metadata, operators of filters, vectors of zeros. Where the documentation
leaves something open, the fake does what is worse for a client: `$ne` and `$nin` exclude records without the field, and
what is written appears a little later.
"""

from __future__ import annotations

import json
import operator as compare
import threading
import time
from pathlib import Path
from typing import Any

import flask
import numpy as np
from openapi_core import OpenAPI
from openapi_core.contrib.flask import FlaskOpenAPIRequest, FlaskOpenAPIResponse
from openapi_core.exceptions import OpenAPIError
from werkzeug.serving import BaseWSGIServer, make_server

_SPECIFICATION = OpenAPI.from_file_path(str(Path(__file__).parent / "pinecone_openapi.yaml"))
_REQUEST_BYTES, _METADATA_BYTES, _ANSWER_BYTES, _IN = 2_000_000, 40_000, 4_000_000, 10_000


class _Refused(Exception):
    """A request that Pinecone refuses."""


class _Record:
    def __init__(self, values: list[float], metadata: dict[str, Any], visible: float) -> None:
        self.values = np.array(values, np.float32)
        # Pinecone keeps numbers as float64.
        self.metadata = {key: _number(value) for key, value in metadata.items()}
        self.visible = visible


class PineconeFake:
    """An index for vectors of `dim` numbers. It can be stopped and started again, and keeps its records.

    Attributes:
        url: of the index.
        lag: seconds after which what was written appears.
        refusals: requests that are answered with 429 before the others are answered.
        page: namespaces that are listed by one request at most.
        requests: that have arrived.
        proceed: requests wait while this is not set.
        bodies: sizes of the requests that wrote records, in bytes.
        wrong_answers: problems of its own answers, which tests assert to be none.
    """

    def __init__(self, dim: int, key: str, *, metric: str = "dotproduct", lag: float = 0.0) -> None:
        self.lag, self.refusals, self.page, self.requests = lag, 0, 100, 0
        self.proceed = threading.Event()
        self.proceed.set()
        self.bodies: list[int] = []
        self.wrong_answers: list[str] = []
        self._dim, self._key, self._metric = dim, key, metric
        self._namespaces: dict[str, dict[str, _Record]] = {}
        self._lock = threading.Lock()
        self._app = self._make_app()
        self._server: BaseWSGIServer | None = None
        self.start(0)
        self.port = self._server.server_port  # type: ignore[union-attr]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, port: int | None = None) -> None:
        self._server = make_server("127.0.0.1", self.port if port is None else port, self._app, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None:
            self.proceed.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    # ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _make_app(self) -> flask.Flask:
        app = flask.Flask("pinecone")
        app.before_request(self._check_request)
        app.after_request(self._check_answer)
        app.register_error_handler(_Refused, lambda error: _error(400, str(error)))
        app.add_url_rule("/vectors/upsert", view_func=self._upsert, methods=["POST"])
        app.add_url_rule("/vectors/fetch", view_func=self._fetch)
        app.add_url_rule("/query", view_func=self._query, methods=["POST"])
        app.add_url_rule("/describe_index_stats", view_func=self._stats, methods=["POST"])
        app.add_url_rule("/namespaces", view_func=self._list)
        app.add_url_rule("/namespaces/<namespace>", view_func=self._delete, methods=["DELETE"])
        return app

    def _check_request(self) -> flask.Response | None:
        self.requests += 1
        self.proceed.wait()
        if flask.request.headers.get("Api-Key") != self._key:
            return _error(401, "Invalid API Key")
        with self._lock:
            self.refusals -= 1
            if self.refusals >= 0:
                return _error(429, "Too many requests")
        if len(flask.request.get_data()) > _REQUEST_BYTES:
            return _error(400, "Request size exceeds the maximum supported size of 2 MB")
        try:
            _SPECIFICATION.validate_request(FlaskOpenAPIRequest(flask.request))
        except OpenAPIError as error:
            return _error(400, f"{error} {error.__cause__ or ''}")
        return None

    def _check_answer(self, answer: flask.Response) -> flask.Response:
        if len(answer.get_data()) > _ANSWER_BYTES:
            return _error(400, "Response size exceeds the maximum of 4 MB")
        try:
            _SPECIFICATION.validate_response(FlaskOpenAPIRequest(flask.request), FlaskOpenAPIResponse(answer))
        except OpenAPIError as error:
            self.wrong_answers.append(f"{flask.request.path}: {error} {error.__cause__ or ''}")
        return answer

    # ── operations ───────────────────────────────────────────────────────────────────────────────────────────────

    def _visible(self, namespace: str) -> dict[str, _Record]:
        now = time.monotonic()
        with self._lock:
            return {key: each for key, each in self._namespaces.get(namespace, {}).items() if each.visible <= now}

    def _upsert(self) -> flask.Response:
        request = json.loads(flask.request.get_data())
        records = {}
        for vector in request["vectors"]:
            values, metadata = vector["values"], vector.get("metadata", {})
            if len(values) != self._dim:
                raise _Refused(f"Vector dimension {len(values)} does not match the dimension of the index {self._dim}")
            if not any(values):
                raise _Refused("Dense vectors must contain at least one non-zero value")
            if len(json.dumps(metadata, ensure_ascii=False).encode()) > _METADATA_BYTES + 4 * len(metadata):
                raise _Refused("Metadata size exceeds the limit of 40960 bytes per vector")
            if any(not key or key.startswith("$") for key in metadata):
                raise _Refused("Metadata keys must not be empty or begin with $")
            records[vector["id"]] = _Record(values, metadata, time.monotonic() + self.lag)
        with self._lock:
            self.bodies.append(len(flask.request.get_data()))
            self._namespaces.setdefault(request["namespace"], {}).update(records)
        return flask.jsonify({"upsertedCount": len(records)})

    def _fetch(self) -> flask.Response:
        namespace, ids = flask.request.args["namespace"], flask.request.args.getlist("ids")
        records = self._visible(namespace)
        vectors = {
            key: {"id": key, "values": records[key].values.tolist(), "metadata": records[key].metadata}
            for key in ids
            if key in records
        }
        return flask.jsonify({"namespace": namespace, "vectors": vectors, "usage": {"readUnits": 1}})

    def _query(self) -> flask.Response:
        request = json.loads(flask.request.get_data())
        if len(request["vector"]) != self._dim:
            raise _Refused(f"Vector dimension {len(request['vector'])} does not match the dimension of the index")
        _check_filter(request.get("filter", {}))
        records = {
            key: record
            for key, record in self._visible(request["namespace"]).items()
            if _passes(record.metadata, request.get("filter", {}))
        }
        matches = []
        if records:
            scores = np.stack([record.values for record in records.values()]) @ np.array(request["vector"], np.float32)
            names = list(records)
            best = np.argsort(-scores, kind="stable")[: request["topK"]]
            matches = [{"id": names[each], "score": float(scores[each])} for each in best]
        return flask.jsonify({"namespace": request["namespace"], "matches": matches, "usage": {"readUnits": 1}})

    def _stats(self) -> flask.Response:
        counts = {name: len(self._visible(name)) for name in list(self._namespaces)}
        namespaces = {name: {"vectorCount": count} for name, count in counts.items() if count}
        return flask.jsonify(
            {
                "dimension": self._dim,
                "indexFullness": 0,
                "metric": self._metric,
                "vectorType": "dense",
                "totalVectorCount": sum(counts.values()),
                "namespaces": namespaces,
            }
        )

    def _list(self) -> flask.Response:
        arguments = flask.request.args
        with self._lock:
            names = sorted(name for name in self._namespaces if name.startswith(arguments.get("prefix", "")))
        first, limit = int(arguments.get("paginationToken", 0)), min(int(arguments.get("limit", 100)), self.page)
        page = [{"name": name, "record_count": len(self._visible(name))} for name in names[first : first + limit]]
        answer: dict[str, Any] = {"namespaces": page, "total_count": len(names)}
        if first + limit < len(names):
            answer["pagination"] = {"next": str(first + limit)}
        return flask.jsonify(answer)

    def _delete(self, namespace: str) -> flask.Response:
        with self._lock:
            if self._namespaces.pop(namespace, None) is None:
                return _error(404, "Namespace not found")
        return flask.jsonify({})


def _error(status: int, message: str) -> flask.Response:
    answer = flask.jsonify({"code": 3, "message": message, "details": []})
    answer.status_code = status
    return answer


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_filter(filter: dict[str, Any]) -> None:
    for key, value in filter.items():
        if key in ("$and", "$or"):
            if not isinstance(value, list) or not value:
                raise _Refused(f"{key} takes a list of filters")
            for each in value:
                _check_filter(each)
        elif key.startswith("$"):
            raise _Refused(f"unknown operator {key}")
        elif not isinstance(value, dict):
            raise _Refused(f"{key}: write an operator")
        else:
            for operator, operand in value.items():
                _check_operand(operator, operand)


def _check_operand(operator: str, operand: Any) -> None:
    is_number = type(operand) in (int, float)  # not a bool
    match operator:
        case "$eq" | "$ne":
            valid = isinstance(operand, str | bool) or is_number
        case "$gt" | "$gte" | "$lt" | "$lte":
            valid = is_number
        case "$in" | "$nin":
            valid = isinstance(operand, list) and 0 < len(operand) <= _IN
            valid = valid and all(
                isinstance(each, str | int | float) and not isinstance(each, bool) for each in operand
            )
        case "$exists":
            valid = isinstance(operand, bool)
        case _:
            raise _Refused(f"unknown operator {operator}")
    if not valid:
        raise _Refused(f"{operator} does not take {operand!r}")


def _passes(metadata: dict[str, Any], filter: dict[str, Any]) -> bool:
    return all(
        all(_passes(metadata, each) for each in value)
        if key == "$and"
        else any(_passes(metadata, each) for each in value)
        if key == "$or"
        else all(_meets(metadata.get(key), operator, operand) for operator, operand in value.items())
        for key, value in filter.items()
    )


def _meets(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$exists":
        return (value is not None) == operand
    if value is None:
        return False
    if operator in ("$in", "$nin"):
        return (value in [_number(each) for each in operand]) == (operator == "$in")
    operand = _number(operand)
    if operator in ("$eq", "$ne"):
        return (value == operand) == (operator == "$eq")
    if not isinstance(value, float):
        return False
    compared = {"$gt": compare.gt, "$gte": compare.ge, "$lt": compare.lt, "$lte": compare.le}
    return compared[operator](value, operand)

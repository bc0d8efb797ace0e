"""A server with the part of Qdrant's REST API that Lookalike calls, in front of Qdrant's own core (qdrant-edge).

The core, in Rust, stores, indexes and searches as a Qdrant does. Requests and answers are checked with the models that
qdrant-client generates of Qdrant's OpenAPI description. What only Qdrant's server has is imitated: the status of a
collection, and its metadata. `python -m tests.qdrant_server FOLDER PORT KEY` starts it on 127.0.0.1.
"""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, TypeVar

import flask
import httpx
import qdrant_edge as edge
from pydantic import BaseModel, ValidationError
from qdrant_client import models
from werkzeug.serving import make_server

from tests.waiting import wait_until


class QdrantServer:
    """A process that can be frozen, killed and started again, with its data in a folder."""

    def __init__(self, folder: Path, key: str = "") -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url, self.key, self._folder = f"http://127.0.0.1:{self.port}", key, folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = [str(self._folder), str(self.port), self.key]
        self.process = subprocess.Popen([sys.executable, "-m", "tests.qdrant_server", *arguments])
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """Kill it: its folder keeps what it has."""
        self.kill()


# ── a collection ─────────────────────────────────────────────────────────────────────────────────────────────────────

_INDEXES = {
    models.PayloadSchemaType.KEYWORD: edge.PayloadSchemaType.Keyword,
    models.PayloadSchemaType.INTEGER: edge.PayloadSchemaType.Integer,
    models.PayloadSchemaType.FLOAT: edge.PayloadSchemaType.Float,
}


def edge_filter(filter: models.Filter) -> edge.Filter:
    """Return a filter of qdrant-client as one of the core."""
    lists = {"must": filter.must, "should": filter.should, "must_not": filter.must_not}
    return edge.Filter(**{name: [_condition(each) for each in part] for name, part in lists.items() if part})


def _condition(condition: Any) -> Any:
    match condition:
        case models.Filter():
            return edge_filter(condition)
        case models.IsEmptyCondition():
            return edge.IsEmptyCondition(condition.is_empty.key)
        case models.FieldCondition(key=key, match=models.MatchValue(value=value)):
            return edge.FieldCondition(key, match=edge.MatchValue(value))
        case models.FieldCondition(key=key, match=models.MatchAny(any=values)):
            return edge.FieldCondition(key, match=edge.MatchAny(values))
        case models.FieldCondition(key=key, range=models.Range(gte=gte, gt=gt, lte=lte, lt=lt)):
            return edge.FieldCondition(key, range=edge.RangeFloat(gte=gte, gt=gt, lte=lte, lt=lt))
    raise ValueError(f"not imitated: {condition}")


def _edge_config(wanted: models.CreateCollection) -> edge.EdgeConfig:
    vectors, hnsw = wanted.vectors, wanted.hnsw_config
    assert isinstance(vectors, models.VectorParams)
    assert hnsw is not None
    assert (vectors.distance, vectors.datatype) == (models.Distance.DOT, models.Datatype.FLOAT16)
    quantization = None
    match wanted.quantization_config:
        case models.ScalarQuantization(scalar=scalar):
            quantization = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, scalar.quantile, scalar.always_ram)
        case models.BinaryQuantization(binary=binary):
            quantization = edge.BinaryQuantizationConfig(binary.always_ram)
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(
            size=vectors.size,
            distance=edge.Distance.Dot,
            datatype=edge.VectorStorageDatatype.Float16,
            on_disk=vectors.on_disk,
        ),
        hnsw_config=edge.HnswIndexConfig(
            m=hnsw.m or 16,
            ef_construct=hnsw.ef_construct or 100,
            full_scan_threshold=hnsw.full_scan_threshold or 10_000,
            on_disk=hnsw.on_disk,
        ),
        quantization_config=quantization,
    )


#: Signal 9 when the parent ends: prctl(2), PR_SET_PDEATHSIG.
_OPTIMIZER = """
import ctypes, sys, qdrant_edge
ctypes.CDLL(None).prctl(1, 9)
shard = qdrant_edge.EdgeShard.load(sys.argv[1])
shard.optimize()
shard.close()
"""


class _Stored:
    """One collection: a shard of the core, and beside it how it was created."""

    def __init__(self, folder: Path, wanted: models.CreateCollection | None = None) -> None:
        self._file, self._folder = folder / "collection.json", str(folder / "shard")
        if wanted is None:
            self.wanted = models.CreateCollection.model_validate_json(self._file.read_bytes())
            self._shard = edge.EdgeShard.load(self._folder)
        else:
            (folder / "shard").mkdir(parents=True)
            self.wanted, self._shard = wanted, edge.EdgeShard.create(self._folder, _edge_config(wanted))
            self.save()
        self._optimizing: threading.Thread | None = None
        self._optimized = False
        self._usable = threading.Event()
        self._usable.set()
        self._described = self._shard.info()

    @property
    def shard(self) -> edge.EdgeShard:
        """The shard, once it is not being optimized."""
        self._usable.wait()
        return self._shard

    def save(self) -> None:
        self._file.write_text(self.wanted.model_dump_json(exclude_unset=True))

    def update(self, wanted: models.UpdateCollection) -> None:
        if wanted.metadata is not None:
            self.wanted.metadata = {**(self.wanted.metadata or {}), **wanted.metadata}
        if wanted.optimizers_config is not None:
            self.wanted.optimizers_config = wanted.optimizers_config
            if wanted.optimizers_config.indexing_threshold and self._optimizing is None:
                self._described = self.shard.info()
                self._usable.clear()
                self._optimizing = threading.Thread(target=self._optimize, daemon=True)
                self._optimizing.start()
        self.save()

    def _optimize(self) -> None:
        # By a process of its own, which ends with this one: the core holds Python's lock for as long as it takes, and
        # a Qdrant answers meanwhile.
        self._shard.close()
        subprocess.run([sys.executable, "-c", _OPTIMIZER, self._folder], check=True)
        self._shard = edge.EdgeShard.load(self._folder)
        self._optimized = True
        self._usable.set()

    @property
    def info(self) -> dict[str, Any]:
        shard, wanted = self._shard.info() if self._usable.is_set() else self._described, self.wanted
        waits = bool(wanted.optimizers_config and wanted.optimizers_config.indexing_threshold) and not self._optimized
        status = "green" if not waits else "grey" if self._optimizing is None else "yellow"
        assert wanted.hnsw_config is not None
        return {
            "status": status,
            "optimizer_status": "ok",
            "points_count": shard.points_count,
            "indexed_vectors_count": shard.indexed_vectors_count,
            "segments_count": shard.segments_count,
            "payload_schema": {
                field: {"data_type": str(index.data_type).rpartition(".")[2].lower(), "points": index.points}
                for field, index in shard.payload_schema.items()
            },
            "config": {
                "params": {"vectors": wanted.model_dump(mode="json", exclude_unset=True)["vectors"]},
                "hnsw_config": wanted.hnsw_config.model_dump(exclude_unset=True),
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
                "metadata": wanted.metadata,
            },
        }

    def query(self, request: models.QueryRequest) -> dict[str, Any]:
        params = request.params or models.SearchParams()
        quantization = None
        if params.quantization is not None:
            quantization = edge.QuantizationSearchParams(
                rescore=params.quantization.rescore, oversampling=params.quantization.oversampling
            )
        query = request.query.nearest if isinstance(request.query, models.NearestQuery) else request.query
        assert isinstance(query, list)
        found = self.shard.query(
            edge.QueryRequest(
                limit=request.limit or 10,
                query=edge.Query.Nearest(query),
                filter=edge_filter(request.filter) if request.filter else None,
                params=edge.SearchParams(hnsw_ef=params.hnsw_ef, exact=bool(params.exact), quantization=quantization),
                with_payload=bool(request.with_payload),
            )
        )
        return {"points": [{"id": point.id, "version": point.version, "score": point.score} for point in found]}


# ── the REST API ─────────────────────────────────────────────────────────────────────────────────────────────────────


_Body = TypeVar("_Body", bound=BaseModel)


def _app(folder: Path, key: str) -> flask.Flask:
    app = flask.Flask(__name__)
    stored = {each.name: _Stored(each) for each in folder.iterdir() if (each / "collection.json").is_file()}

    def body(model: type[_Body]) -> _Body:
        return model.model_validate_json(flask.request.get_data())

    def ok(result: Any) -> flask.Response:
        return flask.jsonify({"result": result, "status": "ok", "time": 0.001})

    def error(status: int, message: str) -> flask.Response:
        answer = flask.jsonify({"status": {"error": message}, "time": 0.001})
        answer.status_code = status
        return answer

    @app.before_request
    def authorize() -> flask.Response | None:
        if key and flask.request.path != "/" and flask.request.headers.get("api-key") != key:
            return error(401, "Must provide an API key or an Authorization bearer token")
        name = (flask.request.view_args or {}).get("name")
        if name and name not in stored and flask.request.endpoint not in ("exists", "create", "delete"):
            return error(404, f"Not found: Collection `{name}` doesn't exist!")
        return None

    @app.errorhandler(ValidationError)
    @app.errorhandler(ValueError)
    def wrong(problem: ValueError) -> flask.Response:
        return error(400, f"Format error in JSON body: {problem}")

    @app.get("/")
    def version() -> flask.Response:
        return flask.jsonify({"title": "qdrant-edge behind Qdrant's REST API", "version": "0.9.0"})

    @app.get("/collections")
    def collections() -> flask.Response:
        return ok({"collections": [{"name": name} for name in stored]})

    @app.get("/collections/<name>/exists")
    def exists(name: str) -> flask.Response:
        return ok({"exists": name in stored})

    @app.get("/collections/<name>")
    def info(name: str) -> flask.Response:
        return ok(stored[name].info)

    @app.put("/collections/<name>")
    def create(name: str) -> flask.Response:
        if name in stored:
            return error(409, f"Wrong input: Collection `{name}` already exists!")
        stored[name] = _Stored(folder / name, body(models.CreateCollection))
        return ok(True)

    @app.patch("/collections/<name>")
    def update(name: str) -> flask.Response:
        stored[name].update(body(models.UpdateCollection))
        return ok(True)

    @app.delete("/collections/<name>")
    def delete(name: str) -> flask.Response:
        if name not in stored:
            return ok(False)
        stored.pop(name).shard.close()
        shutil.rmtree(folder / name)
        return ok(True)

    @app.put("/collections/<name>/index")
    def index(name: str) -> flask.Response:
        wanted = body(models.CreateFieldIndex)
        assert isinstance(wanted.field_schema, models.PayloadSchemaType)
        operation = edge.UpdateOperation.create_field_index(wanted.field_name, _INDEXES[wanted.field_schema])
        stored[name].shard.update(operation)
        return ok({"operation_id": 0, "status": "completed"})

    @app.put("/collections/<name>/points")
    def upsert(name: str) -> flask.Response:
        batch = body(models.PointsBatch).batch
        payloads = batch.payloads or [None] * len(batch.ids)
        points = map(edge.Point, batch.ids, batch.vectors, payloads)
        stored[name].shard.update(edge.UpdateOperation.upsert_points(list(points)))
        return ok({"operation_id": 0, "status": "completed"})

    @app.post("/collections/<name>/points")
    def retrieve(name: str) -> flask.Response:
        wanted = body(models.PointRequest)
        found = stored[name].shard.retrieve(
            wanted.ids, with_payload=bool(wanted.with_payload), with_vector=bool(wanted.with_vector)
        )
        return ok([{"id": each.id, "payload": each.payload, "vector": each.vector} for each in found])

    @app.post("/collections/<name>/points/count")
    def count(name: str) -> flask.Response:
        return ok({"count": stored[name].shard.count(edge.CountRequest(exact=bool(body(models.CountRequest).exact)))})

    @app.post("/collections/<name>/points/query/batch")
    def query(name: str) -> flask.Response:
        return ok([stored[name].query(each) for each in body(models.QueryRequestBatch).searches])

    return app


def main(folder: str, port: str, key: str) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    Path(folder).mkdir(parents=True, exist_ok=True)
    make_server("127.0.0.1", int(port), _app(Path(folder), key), threaded=True).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:4])

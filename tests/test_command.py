"""The `lookalike` command: what it prints when a file, a folder or a setting is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import lookalike
from artifacts.config import PipelineConfig
from artifacts.engines.base import EngineAddress
from artifacts.engines.reference import collection_name
from artifacts.engines.registry import open_engine
from artifacts.errors import InputError
from artifacts.store.identity import identity_of
from artifacts.store.store import Store
from jobs.workspace.records import write_record
from jobs.workspace.shards import ShardReport, report_name
from jobs.workspace.workspace import Workspace
from tests.artifacts.building import manifest_of, store_segment
from tests.artifacts.engines.conftest import DIM, Rows
from tests.pinecone_fake import PineconeFake


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """The exit status of a command, and what it writes to stderr."""
    monkeypatch.setattr("sys.argv", ["lookalike", *arguments])
    with pytest.raises(SystemExit) as ended:
        lookalike.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.csv"
    path.write_text("product_id,image_url\n")
    return path


@pytest.mark.parametrize("name", ["releases", "workspace"])
@pytest.mark.parametrize("below", ["", "below"])
def test_folder_that_is_a_file_is_refused_with_the_setting_that_names_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: Path, name: str, below: str
) -> None:
    folders = {each: str(file.parent / each) for each in ("releases", "workspace")}
    folders[name] = str(file / below)
    options = [text for option, folder in folders.items() for text in (f"--{option}", folder)]
    for verb in ("build", "refresh"):
        status, text = run(capsys, monkeypatch, verb, "--catalog", str(file), *options)
        assert status == 1
        assert text == (
            f"Error: {name} {folders[name]}: {file} is a file, not a folder: "
            f"name another folder with --{name} or LOOKALIKE_{name.upper()}\n"
        )
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_sample_into_a_file_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    status, text = run(capsys, monkeypatch, "sample", "--products", "1", "--out", str(file))
    assert (status, text.splitlines()[-1]) == (1, f"Error: {file} is a file; the sample needs a folder")


def test_error_of_the_operating_system_is_one_sentence_with_the_path(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    status, text = run(capsys, monkeypatch, "sample", "--products", "1", "--out", f"{file}/shop")
    assert status == 1
    assert text.splitlines()[-1].startswith(f"Error: {file}/shop")
    assert text.endswith(": Not a directory\n")
    assert "Traceback" not in text


def test_empty_setting_is_refused_with_what_to_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOOKALIKE_KAFKA_TOPICS", "")
    assert run(capsys, monkeypatch, "stream", "--releases", str(tmp_path)) == (
        2,
        "Error: settings: kafka_topics is empty: set LOOKALIKE_KAFKA_TOPICS, or remove the variable for the default "
        "'product-events'\n",
    )


def test_prune_prints_how_many_versions_are_kept_and_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "releases"), tmp_path / "cache")
    now = datetime.now(UTC)
    for number, age in enumerate([timedelta(hours=2), timedelta(hours=1), *[timedelta(minutes=1)] * 4]):
        reference = store_segment(store, f"{number}")
        second = round((now - age - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds())
        store.publish(manifest_of([reference], second=second), {}, expected=store.current())
    monkeypatch.setattr("sys.argv", ["lookalike", "releases", "prune", "--keep", "3", "--releases", store.folder.url])
    with pytest.raises(SystemExit):
        lookalike.main()
    *removed, last = capsys.readouterr().out.splitlines()
    assert [line.split("/")[0] for line in removed] == ["removed versions"] * 2
    assert last == "Versions kept: 4 (1 published in the last 5 minutes, 3 newest)"


def test_prune_lists_the_collections_of_the_engine_that_belong_to_no_segment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "releases"), tmp_path / "cache")
    store.publish(manifest_of([store_segment(store, "0a")]), {}, expected=None)
    fake = PineconeFake(DIM, "s3cret")
    engine = open_engine("pinecone", EngineAddress(fake.url, "s3cret"))
    few = Rows(5)
    first, second, third = (collection_name(segment, identity_of(store.folder)) for segment in ("0a", "0b", "0c"))
    foreign = collection_name("0d", "0" * 32)
    for name in (first, second, third, foreign, "shop"):
        engine.build(few.collection(name), few.batches, lambda done, total: None)
    for name, value in {"engine": "pinecone", "engine_url": fake.url, "engine_key": "s3cret"}.items():
        monkeypatch.setenv(f"LOOKALIKE_{name.upper()}", value)
    prune = ("releases", "prune", "--releases", store.folder.url)
    listed = "2 collections in pinecone belong to no segment of this store any more; drop what no build is loading: "

    def pruned() -> tuple[list[str], str]:
        monkeypatch.setattr("sys.argv", ["lookalike", *prune])
        with pytest.raises(SystemExit) as ended:
            lookalike.main()
        assert ended.value.code == 0
        printed = capsys.readouterr()
        return printed.out.splitlines(), printed.err

    try:
        assert pruned()[0][1] == f"{listed}{second}, {third}"
        engine.drop(third)
        assert pruned()[0][1].endswith(f"drop what no build is loading: {second}")
        engine.drop(second)
        assert pruned()[0][1].startswith("Versions kept: 1")
        assert {first, foreign} == set(engine.names())
    finally:
        engine.close()
        fake.stop()
    lines, problem = pruned()
    assert lines[-1].startswith("Versions kept: 1")
    assert "pinecone did not list its collections" in problem


# ── the choice of the index ──────────────────────────────────────────────────────────────────────────────────────────


def explained(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *options: str) -> list[str]:
    """The lines that `build --explain-index` prints."""
    monkeypatch.setattr("sys.argv", ["lookalike", "build", "--explain-index", *options])
    with pytest.raises(SystemExit) as ended:
        lookalike.main()
    assert ended.value.code == 0
    return capsys.readouterr().out.splitlines()


def test_index_is_explained_for_any_size(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    size = ("--rows", "100000000", "--dim", "512")
    assert explained(capsys, monkeypatch, *size)[:4] == [
        "100,000,000 rows of 512 numbers",
        "codec pq (IVF65536_HNSW32,PQ64)",
        "65,536 IVF lists, trained on 4,194,304 rows",
        "64 bytes a code, 76 resident bytes a row, 7.75 GB resident in all",
    ]
    lines = explained(capsys, monkeypatch, *size, "--codec", "auto", "--memory-budget", "60G", "--nlist", "50000")
    assert lines[1] == "codec sq8 (IVF50000,SQ8)"
    assert "50,000 IVF lists, as nlist says." in lines
    assert (
        explained(capsys, monkeypatch, "--rows", "10", "--dim", "8", "--memory-budget", "")[1] == "codec flat (SQfp16)"
    )


def test_index_is_explained_for_the_pictures_of_a_workspace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workspace = Workspace.open(str(tmp_path / "workspace"), 2)
    for shard in range(2):
        report = ShardReport("download", shard, 2, "input", rows=20_000, ok=15_000)
        write_record(workspace.images.folder, report_name(shard), report)
    before = sorted(tmp_path.rglob("*"))
    lines = explained(capsys, monkeypatch, "--workspace", workspace.url, "--encoder", "sample")
    assert lines[0].startswith("30,000 rows of ")
    assert lines[1].startswith("codec pq (IVF512,PQ")
    assert sorted(tmp_path.rglob("*")) == before  # nothing is built


SIZE = ("--rows", "100000000", "--dim", "512")


def test_engine_is_explained_in_place_of_an_index(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_ENGINE_KEY", "shop:s3cret")
    lines = explained(capsys, monkeypatch, *SIZE, "--engine", "milvus", "--engine-url", "http://milvus.internal:19530")
    assert lines[:3] == [
        "100,000,000 rows of 512 numbers",
        "engine milvus at http://milvus.internal:19530",
        "No FAISS files: lookalike_<segment id>_<store> holds the rows of a segment.",
    ]
    assert "Servers keep the vectors, 102 GB of files, and score exactly what milvus finds." in lines
    assert not any("IVF" in line or "s3cret" in line for line in lines)


def test_engine_is_explained_with_its_options_and_where_vectors_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_ENGINE_VECTORS", "engine")
    monkeypatch.setenv("LOOKALIKE_ENGINE_OPTIONS", '{"index": "ivfflat", "lists": 4000}')
    lines = explained(capsys, monkeypatch, *SIZE, "--engine", "pgvector")
    assert lines[1] == "engine pgvector at no address yet: a build needs engine_url"
    assert any(line.startswith("Servers have product rows and no vectors") for line in lines)
    assert "Its index is built with index ivfflat, lists 4000, and else with pgvector's defaults." in lines


def test_build_loads_the_engine_that_its_options_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configs: list[PipelineConfig] = []

    def build(source: str, config: PipelineConfig, *rest: object) -> None:
        configs.append(config)
        raise InputError("far enough")

    monkeypatch.setattr("jobs.build.build", build)
    monkeypatch.setenv("LOOKALIKE_ENGINE", "milvus")
    folders = ("--releases", str(tmp_path / "releases"), "--workspace", str(tmp_path / "workspace"))
    options = ("--engine", "qdrant", "--engine-url", "http://127.0.0.1:6333")
    monkeypatch.setattr("sys.argv", ["lookalike", "build", "--catalog", "c.csv", *folders, *options])
    with pytest.raises(SystemExit):
        lookalike.main()
    (config,) = configs
    assert (config.engine.engine, config.engine.engine_url) == ("qdrant", "http://127.0.0.1:6333")


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--explain-index", "--rows", "1000000", "--dim", "512", "--codec", "hnsw"), 1, "hnsw is for fewer than"),
        (
            ("--explain-index", "--rows", "1000000", "--dim", "512", "--memory-budget", "1M"),
            1,
            "takes 84.9 MB (84,912,896 bytes) with codec pq, more than 1 MB",
        ),
        (("--explain-index", "--workspace", "no-such-folder"), 1, "name the size of the index with --rows and --dim"),
        (("--explain-index", "--rows", "5", "--dim", "5", "--memory-budget", "12X"), 2, "'12X' is not a size such as"),
        (("--rows", "5", "--catalog", "c.csv"), 2, "they are for --explain-index"),
        ((), 2, "name the catalog"),
        (
            ("--explain-index", *SIZE, "--engine", "weaviate"),
            2,
            "settings: engine: Input should be 'faiss', 'pgvector'",
        ),
        (
            ("--explain-index", *SIZE, "--engine", "qdrant", "--engine-url", "http://shop:s3cret@qdrant:6333"),
            2,
            "engine_url: Value error, contains credentials; give them as engine_key",
        ),
    ],
)
def test_what_cannot_be_built_or_explained_is_refused(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    ended, text = run(capsys, monkeypatch, "build", *options)
    assert ended == status
    assert message in text
    assert "s3cret" not in text

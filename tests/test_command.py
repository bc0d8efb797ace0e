"""The `lookalike` command: what it prints when a file, a folder or a setting is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import lookalike
from artifacts.store.store import Store
from tests.artifacts.building import manifest_of, store_segment


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

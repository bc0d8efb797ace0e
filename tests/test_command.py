"""The `lookalike` command: what it prints when a file, a folder or a setting is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import lookalike


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

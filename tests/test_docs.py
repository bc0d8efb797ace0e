"""The README and docs/ agree with the code: settings, commands, routes, metrics, alarms, files, tests and words."""

from __future__ import annotations

import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from prometheus_client import REGISTRY

import lookalike
from artifacts.engines.registry import ENGINES
from artifacts.schema import Reason
from artifacts.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
README_MAX_BYTES = 10_000


def read(name: str) -> str:
    return (ROOT / name).read_text()


def section(name: str, title: str) -> str:
    """The text of a page's section of level 2, up to the next one."""
    return re.split(r"^## ", read(name).split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def between(name: str, begin: str, end: str) -> str:
    """The text between two HTML comments."""
    return read(name).split(begin)[1].split(end)[0]


@pytest.fixture(scope="module")
def api_doc() -> dict[str, Any]:
    """The OpenAPI document."""
    from serving.app import create_app

    return create_app(Settings().server, watch=False).api_doc


# ── the README ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_readme_is_short_and_has_both_commands() -> None:
    text = read("README.md")
    assert len(text.encode()) <= README_MAX_BYTES
    assert "make demo" in text
    assert "make test" in text


def test_readme_links_every_page() -> None:
    text = read("README.md")
    pages = (ROOT / "docs").glob("*.md")
    assert [page.name for page in pages if f"](docs/{page.name})" not in text] == []


def test_every_system_in_the_readme_has_code_and_a_test() -> None:
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \| (.+?) \|$", between("README.md", "<!-- systems:", "<!-- /systems -->"), re.M
    )
    systems = {
        system: (re.findall(r"\((.+?)\)", code), re.findall(r"\((.+?)\)", tests)) for system, code, tests in rows[1:]
    }
    assert len(systems) >= 12
    for system, (code, tests) in systems.items():
        assert code, system
        assert tests, system
        assert [path for path in [*code, *tests] if not (ROOT / path).is_file()] == []
        assert all(path.split("/")[0] in ("artifacts", "dags", "jobs", "serving") for path in code), system
        assert all(re.search(r"^\s*def test_", read(path), re.MULTILINE) for path in tests), system


def test_every_engine_has_a_page_that_names_its_extra_and_is_linked() -> None:
    for kind in ENGINES:
        assert f"(engines/{kind}.md)" in read("docs/engines.md")
        assert f"lookalike[{kind}]" in read(f"docs/engines/{kind}.md")
    assert {page.stem for page in (ROOT / "docs/engines").glob("*.md")} == set(ENGINES)


def test_every_engine_option_of_a_page_is_in_the_overview() -> None:
    text = section("docs/engines.md", "Setting one up")
    for kind in set(ENGINES) - {"pinecone"}:  # which has none
        rows = re.findall(r"^\| (`.+?`) \|", section(f"docs/engines/{kind}.md", "Options"), re.MULTILINE)
        names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
        assert len(names) > 4
        assert [name for name in names if f"`{name}`" not in text] == []


# ── reference ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_table_equals_the_settings() -> None:
    table = between("docs/settings.md", "<!-- settings:", "<!-- /settings -->")
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (.*) \|$", table, re.MULTILINE)
    assert rows == [(name, str(field.default), field.description) for name, field in Settings.model_fields.items()]


def commands() -> list[str]:
    """Every command, with its group if it is in one."""
    names: list[str] = []
    for name, command in typer.main.get_command(lookalike.app).commands.items():  # type: ignore[attr-defined]
        names += [f"{name} {inner}" for inner in command.commands] if hasattr(command, "commands") else [name]
    return names


@pytest.mark.parametrize("command", commands())
def test_every_command_is_documented(command: str) -> None:
    verb, _, inner = command.partition(" ")
    assert re.search(rf"`lookalike {verb}\b[^`]*{inner}", section("docs/settings.md", "Commands"))


def test_every_route_is_documented(api_doc: dict[str, Any]) -> None:
    text = section("docs/api.md", "Routes")
    assert [path for path in api_doc["paths"] if path.replace("{product_id}", "{id}") not in text] == []


def test_every_search_parameter_is_documented(api_doc: dict[str, Any]) -> None:
    text = section("docs/api.md", "Parameters of every search")
    parameters = [parameter["name"] for parameter in api_doc["paths"]["/v1/search/text"]["get"]["parameters"]]
    assert len(parameters) > 20
    undocumented = [name for name in parameters if not re.search(rf"`{name}\b", text)]
    assert undocumented == ["q"]  # which is in the route's own row


def test_every_error_status_is_documented(api_doc: dict[str, Any]) -> None:
    operations = [operation for path in api_doc["paths"].values() for operation in path.values()]
    statuses = {status for operation in operations for status in operation["responses"] if status >= "400"}
    assert statuses - set(re.findall(r"^\| (\d{3}) \|", section("docs/api.md", "Errors"), re.MULTILINE)) == set()


def test_every_metric_is_documented(api_doc: dict[str, Any]) -> None:
    metrics = {
        metric.name + ("_total" if metric.type == "counter" else ""): metric.type
        for metric in REGISTRY.collect()
        if metric.name.startswith("image_search_")
    }
    rows = re.findall(r"^\| `(image_search_\w+)` \| (\w+) \|", section("docs/operations.md", "Metrics"), re.MULTILINE)
    assert dict(rows) == metrics


def test_every_alarm_is_documented() -> None:
    alarms = re.findall(r"- alert: (\w+)", read("serving/deploy/alerts.yml"))
    rows = re.findall(r"^\| `(\w+)` \|", section("docs/operations.md", "Alarms"), re.MULTILINE)
    assert rows == alarms


def test_every_reason_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section("docs/catalog.md", "Rejects"), re.MULTILINE)
    assert sorted(rows) == sorted(Reason)


# ── links, files, tests ──────────────────────────────────────────────────────────────────────────────────────────────


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_images_exist(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (fragment and fragment not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    code = re.findall(r"^```bash\n(.*?)^```|`(.+?)`", page.read_text(), re.MULTILINE | re.DOTALL)
    targets = re.findall(r"^make ([a-z-]+)", "\n".join("".join(groups) for groups in code), re.MULTILINE)
    existing = re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE)
    assert set(targets) <= set(existing)


def test_named_tests_exist() -> None:
    """`path::test` names a test; `::test` alone is in the file named before it."""
    tests: list[tuple[str, str]] = []
    for path, test in re.findall(r"`(tests/[\w/]+\.py)?::(test_\w+)`", read("CONTRIBUTING.md")):
        tests.append((path or tests[-1][0], test))
    assert len(tests) > 20
    missing = [
        f"{path}::{test}"
        for path, test in tests
        if not (ROOT / path).exists() or not re.search(rf"^def {test}\(", read(path), re.MULTILINE)
    ]
    assert missing == []


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_glossary_names_existing_code() -> None:
    places = re.findall(r"`((?:artifacts|jobs|serving|dags)/[\w/.]+)(?:::(\w+))?`", read("docs/glossary.md"))
    assert len(places) > 50
    missing = [
        f"{path}::{name}"
        for path, name in places
        if not (ROOT / path).exists() or (name and not re.search(rf"\b{name}\b", read(path)))
    ]
    assert missing == []


def test_glossary_has_one_row_for_each_term() -> None:
    rows = re.findall(r"^\| ([^`|]+) \|.*\|.*\|.*\|$", read("docs/glossary.md").split("## Words")[0], re.MULTILINE)
    terms = Counter(term for row in rows if row != "term" for term in row.split(", "))
    assert len(terms) > 50
    assert [term for term, count in terms.items() if count > 1] == []


def forbidden_words() -> list[str]:
    table = between("docs/glossary.md", "<!-- forbidden -->", "<!-- /forbidden -->")
    return re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)


#: The page that lists the words, and this file.
MAY_NAME_THEM = {ROOT / "docs/glossary.md", Path(__file__)}
#: Plain English that holds a forbidden phrase.
ALLOWED_PHRASES = {"is none": r"there\s+is\s+none|is\s+none\s+of"}
_FOLDERS = ("artifacts", "dags", "docs", "jobs", "serving", "tests", ".ci")
_SUFFIXES = {".py", ".pyi", ".md", ".js", ".html", ".css", ".j2", ".yml", ".json", ".toml", ".env", ".service", ""}


def sources() -> Iterator[Path]:
    """Files that people write: code, tests, documentation, configuration."""
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in {".py", ".md", ".toml"})
    yield ROOT / "Makefile"
    for folder in _FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            generated = path.is_relative_to(ROOT / "artifacts/releases") or "__pycache__" in path.parts
            if path.is_file() and path.suffix in _SUFFIXES and not generated:
                yield path


@pytest.fixture(scope="module")
def texts() -> dict[Path, str]:
    return {path: path.read_text() for path in sources() if path not in MAY_NAME_THEM}


def lines_with(word: str, path: Path, text: str) -> list[str]:
    """The lines of a file that hold a forbidden word, as `path:line`.

    An underscore divides words. A phrase may go over the end of a line. A word that begins with a capital is the name
    of a class: in Python it counts only as a name, elsewhere only as code.
    """
    if word[0].isupper():
        if not re.search(rf"\b_?{word}\b", text):
            return []
        if path.suffix == ".py":
            tokens = tokenize.generate_tokens(io.StringIO(text).readline)
            numbers = [t.start[0] for t in tokens if t.type == tokenize.NAME and t.string.lstrip("_") == word]
            return [f"{path.relative_to(ROOT)}:{number}" for number in numbers]
        pattern = rf"`_?{word}`"
    else:
        if word in ALLOWED_PHRASES:
            text = re.sub(ALLOWED_PHRASES[word], lambda match: re.sub(r"\S", "·", match[0]), text)
        gap = r"\s+(?:(?:#:?|//|\*)\s*)?"  # over a line's end, and the comment sign of the next
        pattern = rf"(?<![^\W_]){gap.join(word.split())}(?![^\W_])"
    flags = re.IGNORECASE if " " not in word and word.islower() else 0  # `is None` is Python
    return [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}"
        for match in re.finditer(pattern, text, flags)
    ]


@pytest.mark.parametrize("word", forbidden_words())
def test_forbidden_words_do_not_occur(word: str, texts: dict[Path, str]) -> None:
    lines = [line for path, text in texts.items() for line in lines_with(word, path, text)]
    assert not lines, "\n".join([f"{word!r} is in {len(lines)} lines:", *lines])


def test_forbidden_words_are_recognised() -> None:
    path = ROOT / "example.py"
    assert lines_with("doorman", path, "class Doorman:\n    pass\n") == ["example.py:1"]
    assert lines_with("let_in", path, "def was_let_in(): ...") == ["example.py:1"]
    assert lines_with("lanes", path, "free_lanes = planes") == ["example.py:1"]
    assert lines_with("is none", path, "# a rate that is\n# none") == ["example.py:1"]
    assert lines_with("is none", path, "# if there is none, or it is none of these") == []
    assert lines_with("is none", path, "if x is None:\n    pass") == []
    assert lines_with("Allowed", path, '"""Allowed rows."""\nx = _Allowed()\n') == ["example.py:2"]
    assert lines_with("Allowed", ROOT / "page.md", "Allowed rows are `RowFilter`, not `Allowed`.") == ["page.md:1"]

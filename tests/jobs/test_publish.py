"""The publish step: the candidate becomes the version that is served, once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from artifacts.errors import GateFailed, PublishConflict
from artifacts.store.store import Store
from jobs.evaluate.step import run_evaluate
from jobs.publish import run_publish, until_published
from tests.pipeline import prepare, prepared, publish_small, run_index, small_settings, write_small_catalog

pytestmark = pytest.mark.slow


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_small_catalog(tmp_path / "shop")


def test_publish_writes_the_version_with_its_reports(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    _, report = publish_small(catalog, settings)
    _, store = prepare(catalog, settings)
    assert store.current() == report.version
    assert store.folder.names(f"versions/{report.version}") == [
        "evaluation.json", "manifest.json", "rejects.parquet", "report.html",
    ]  # fmt: skip
    assert store.verify().counts.indexed == 36


def test_pruning_that_fails_fails_no_publication(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> list[str]:
        raise PermissionError("read-only")

    monkeypatch.setattr(Store, "prune", fail)
    settings = small_settings(tmp_path)
    _, report = publish_small(catalog, settings)
    assert (report.unchanged, report.pruned) == (False, [])
    assert prepare(catalog, settings)[1].current() == report.version
    assert f"{report.version} is published; older ones were not pruned: read-only" in caplog.text


def test_publish_without_changes_keeps_the_version(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    _, first = publish_small(catalog, settings)
    indexed, again = publish_small(catalog, settings)
    assert not indexed.changed
    assert again.unchanged
    assert again.version == first.version
    assert prepare(catalog, settings)[1].versions() == [first.version]


def test_candidate_that_was_not_evaluated_is_refused(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    context = prepared(catalog, settings)
    run_index(context)
    with pytest.raises(GateFailed, match="has not passed the gate"):
        run_publish(context)
    assert context.store.current() is None


def test_newer_version_of_another_workspace_is_not_overwritten(catalog: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    context = prepared(catalog, settings)
    run_index(context)
    run_evaluate(context)
    # in the meantime another workspace publishes
    other = write_small_catalog(tmp_path / "other", products=18)
    _, theirs = publish_small(other, settings.model_copy(update={"workspace": str(tmp_path / "elsewhere")}))
    with pytest.raises(PublishConflict, match="Run the build again"):
        run_publish(context)
    assert context.store.current() == theirs.version


def test_publish_prunes_old_versions(catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artifacts.store.store.VERSION_GRACE_SECONDS", -1)  # these are seconds old
    settings = small_settings(tmp_path, keep_releases=2)
    published = []
    for products in (36, 35, 34, 33):
        write_small_catalog(catalog.parent, products=products)
        published.append(publish_small(catalog, settings)[1])
    store = prepare(catalog, settings)[1]
    assert store.versions() == sorted(report.version for report in published[-2:])
    version, segment = published[-1].pruned
    assert version == f"versions/{published[1].version}"
    assert segment.startswith("segments/")
    assert not store.folder.exists(segment)


def test_publication_that_was_overtaken_is_not_overtaken_again(tmp_path: Path) -> None:
    """It holds the lease when it tries again: what others publish comes after it."""
    store = Store(str(tmp_path / "releases"), tmp_path / "cache")
    published: list[str] = []

    def short() -> None:
        published.append("short")

    before, after = (threading.Thread(target=until_published, args=(store, short)) for _ in range(2))

    def long() -> None:
        if not published:
            before.start()
            before.join()
            raise PublishConflict("overtaken")
        after.start()
        after.join(0.5)
        assert after.is_alive()
        published.append("long")

    until_published(store, long)
    after.join()
    assert published == ["short", "long", "short"]


def test_publication_that_is_overtaken_every_time_gives_up(tmp_path: Path) -> None:
    attempts: list[int] = []

    def overtaken() -> None:
        attempts.append(1)
        raise PublishConflict("overtaken")

    store = Store(str(tmp_path / "releases"), tmp_path / "cache")
    with pytest.raises(PublishConflict):
        until_published(store, overtaken)
    assert len(attempts) == 3
    assert store.lease.wait_until_free(0)

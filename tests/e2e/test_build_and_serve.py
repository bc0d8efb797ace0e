"""End to end by the command line: a catalog with every kind of bad row, a build, a server, another build."""

from __future__ import annotations

import csv
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest

from tests.pipeline import write_small_catalog
from tests.servers import PictureServer
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.spark]


def lookalike(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lookalike", *arguments],
        env=environment(folder), capture_output=True, text=True, timeout=250,
    )  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    root = Path(__file__).parent.parent.parent
    return os.environ | {
        "PYTHONPATH": str(root),  # the encoder below is in tests/
        "SPARK_LOCAL_IP": "127.0.0.1",
        "LOOKALIKE_RELEASES": str(folder / "releases"),
        "LOOKALIKE_WORKSPACE": str(folder / "workspace"),
        "LOOKALIKE_SHARDS": "2",
        "LOOKALIKE_EVALUATION_QUERIES": "20",
        "LOOKALIKE_MAX_REJECT_RATE": "0.5",
        "LOOKALIKE_ALLOW_PRIVATE_ADDRESSES": "true",
        "LOOKALIKE_DOWNLOAD_RETRIES": "0",
        "LOOKALIKE_RELOAD_SECONDS": "0.2",
        "LOOKALIKE_DEADLINE_SECONDS": "60",
    }


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[str, int]]:
    """`lookalike serve` on a free port, until the block ends; yields its address and pid once a release is loaded."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lookalike", "serve", "--port", "0", *arguments],
        env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[4].rstrip("/")
        wait_until(lambda: fetch(f"{address}/readyz")["status"] == "ok")
        yield address, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
    assert status == 0


def fetch(url: str) -> dict[str, object]:
    with urlopen(url, timeout=30) as response:
        return json.load(response)


def huge_png(side: int) -> bytes:
    """A valid PNG of side x side grey pixels, a few kilobytes long."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="module")
def catalog(folder: Path, running_server: PictureServer) -> Path:
    bad = [
        {"product_id": "", "image_url": "images/000.jpg"},
        {"product_id": "p001", "image_url": "images/000.jpg"},
        {"product_id": "negative", "image_url": "images/000.jpg", "price": "-3.5"},
        {"product_id": "missing", "image_url": running_server.url("/missing.jpg")},
        {"product_id": "text", "image_url": "images/text.jpg"},
        {"product_id": "cut", "image_url": "images/cut.jpg"},
        {"product_id": "huge", "image_url": "images/huge.png"},
        {"product_id": "outside", "image_url": "../../etc/hostname"},
    ]
    path = write_small_catalog(folder / "shop", extra=bad)
    images = path.parent / "images"
    (images / "text.jpg").write_text("this is no picture")
    (images / "cut.jpg").write_bytes((images / "000.jpg").read_bytes()[:700])
    (images / "huge.png").write_bytes(huge_png(30_000))
    return path


BUILD = ("build", "--encoder", "python:tests.encoders:ColourWords")


@pytest.fixture(scope="module")
def built(catalog: Path, folder: Path) -> str:
    done = lookalike(*BUILD, "--catalog", str(catalog), folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_bad_row_is_rejected_with_its_reason(built: str, folder: Path) -> None:
    version = (folder / "releases/CURRENT").read_text().strip()
    rejects = pq.read_table(folder / f"releases/versions/{version}/rejects.parquet").to_pylist()
    assert {(row["product_id"] or "", row["reason"]) for row in rejects} == {
        ("", "missing_product_id"),
        ("p001", "duplicate_product_id"),
        ("negative", "bad_value"),
        ("missing", "http_client_error"),
        ("text", "not_an_image"),
        ("cut", "truncated_image"),
        ("huge", "too_many_pixels"),
        ("outside", "outside_catalog"),
    }
    details = {row["product_id"]: row["detail"] for row in rejects}
    assert "price" in details["negative"]
    assert "-3.5" in details["negative"]
    assert "404" in details["missing"]
    manifest = json.loads((folder / f"releases/versions/{version}/manifest.json").read_text())
    assert manifest["counts"]["input_rows"] == 44
    assert manifest["counts"]["indexed"] == 36
    assert sum(manifest["counts"]["rejected"].values()) == 8
    assert "products indexed" in built


def test_second_build_downloads_and_embeds_nothing(built: str, catalog: Path, folder: Path) -> None:
    done = lookalike(*BUILD, "--catalog", str(catalog), folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nothing changed: no picture downloaded, none embedded;")


def test_searches_succeed_while_another_version_is_published(built: str, catalog: Path, folder: Path) -> None:
    with serving(folder) as (address, _):
        first = fetch(f"{address}/v1/release")
        assert first["products"] == 36
        failures: list[str] = []
        answered = 0
        stop = threading.Event()

        def search() -> None:
            nonlocal answered
            while not stop.is_set():
                try:
                    answer = fetch(f"{address}/v1/search/text?q={quote('red circle')}&limit=5")
                    assert len(answer["results"]) == 5  # type: ignore[arg-type]
                    answered += 1
                except (OSError, AssertionError) as error:
                    failures.append(repr(error))

        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
        # one product less, the others unchanged
        rows = list(csv.reader(catalog.read_text().splitlines()))
        with catalog.open("w", newline="") as file:
            csv.writer(file).writerows(row for row in rows if row[0] != "p035")
        done = lookalike(*BUILD, "--catalog", str(catalog), folder=folder)
        assert done.returncode == 0, done.stderr
        assert "0 pictures fetched" in done.stderr
        assert "0 pictures embedded" in done.stderr
        wait_until(lambda: fetch(f"{address}/v1/release")["products"] == 35)
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert answered > 10
        # and back again, by a rollback
        back = lookalike("releases", "rollback", folder=folder)
        assert str(first["version"]) in back.stdout
        wait_until(lambda: fetch(f"{address}/v1/release")["version"] == first["version"])


def searches_counted(address: str) -> float:
    with urlopen(f"{address}/metrics", timeout=30) as response:
        text = response.read().decode()
    series = 'image_search_requests_total{search_type="text",status="ok"} '
    return float(next(line for line in text.splitlines() if line.startswith(series)).removeprefix(series))


def worker_pids(server: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def test_workers_share_their_metrics(built: str, folder: Path) -> None:
    with serving(folder, "--workers", "2") as (address, server):
        for _ in range(12):
            fetch(f"{address}/v1/search/text?q=red")
        assert searches_counted(address) == 12
        workers = worker_pids(server)
        os.kill(workers[0], signal.SIGTERM)
        wait_until(lambda: len(worker_pids(server)) == 2 and workers[0] not in worker_pids(server))
        fetch(f"{address}/v1/search/text?q=red")
        assert searches_counted(address) == 13  # the ended worker's searches included


def test_releases_are_listed_shown_and_verified(built: str, folder: Path) -> None:
    version = (folder / "releases/CURRENT").read_text().strip()
    assert version in lookalike("releases", "list", folder=folder).stdout
    assert json.loads(lookalike("releases", "show", folder=folder).stdout)["version"] == version
    assert "every file is as it was published" in lookalike("releases", "verify", folder=folder).stdout
    missing = lookalike("releases", "verify", "20200101T000000Z-none", folder=folder)
    assert missing.returncode == 1
    assert "there is no version" in missing.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("image_url,price\na.jpg,1\n", "product_id"),
        ("product_id,image_url\n", "no rows"),
        ("", "empty"),
    ],
)
def test_unusable_catalog_changes_nothing(built: str, folder: Path, tmp_path: Path, content: str, says: str) -> None:
    before = sorted(path for path in (folder / "releases").rglob("*"))
    bad = tmp_path / "bad.csv"
    bad.write_text(content)
    done = lookalike(*BUILD, "--catalog", str(bad), folder=folder)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path for path in (folder / "releases").rglob("*")) == before


def test_unknown_encoders_and_settings_are_one_sentence(folder: Path, catalog: Path, tmp_path: Path) -> None:
    done = lookalike("build", "--catalog", str(catalog), "--encoder", "clip", folder=tmp_path)
    assert done.returncode == 1
    assert "encoder 'clip' is not understood" in done.stderr
    assert "Traceback" not in done.stderr
    done = lookalike("build", "--catalog", str(catalog), "--codec", "zip", folder=tmp_path)
    assert done.returncode == 2
    assert "codec" in done.stderr

"""Every picture ends as one result with the right reason, in time, with no more requests than needed."""

from __future__ import annotations

import asyncio
import io
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import pytest
from PIL import Image

from artifacts.config import DownloadLimits
from artifacts.schema import OK, Reason
from jobs.download import fetch
from jobs.download import http as fetch_http
from jobs.download.fetch import Fetched, fetch_all
from jobs.download.local import CatalogFolder
from tests.servers import PictureServer

SETTINGS = DownloadLimits(allow_private_addresses=True, max_picture_bytes=1_000_000, download_retries=2)


def run(urls: Sequence[str], base: str | None = None, **changes: object) -> list[Fetched]:
    """The results in the order of the URLs."""

    async def main() -> dict[int, Fetched]:
        results: dict[int, Fetched] = {}
        settings = replace(SETTINGS, **changes)
        async for key, fetched in fetch_all(enumerate(urls), settings, CatalogFolder(base)):
            assert key not in results
            results[key] = fetched
        return results

    results = asyncio.run(main())
    return [results[number] for number in range(len(urls))]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_http, "_backoff", lambda state: 0.01)


def test_a_picture_is_kept_as_jpeg_with_both_digests(server: PictureServer) -> None:
    (got,) = run([server.url("/ok.jpg")])
    assert got.status == OK
    assert got.detail is None
    assert (got.width, got.height) == (120, 90)
    assert got.jpeg
    assert Image.open(io.BytesIO(got.jpeg)).size == (120, 90)
    assert got.sha256 != got.source_sha256
    assert got.source_bytes
    assert server.agents == {SETTINGS.user_agent}


@pytest.mark.parametrize(
    ("path", "reason", "requests"),
    [
        ("/status/404", Reason.HTTP_CLIENT_ERROR, 1),
        ("/status/403", Reason.HTTP_CLIENT_ERROR, 1),
        ("/status/204", Reason.HTTP_CLIENT_ERROR, 1),
        ("/status/304", Reason.HTTP_CLIENT_ERROR, 1),
        ("/status/503", Reason.HTTP_SERVER_ERROR, 3),
        ("/status/429", Reason.HTTP_SERVER_ERROR, 3),
        ("/status/408", Reason.HTTP_SERVER_ERROR, 3),
        ("/second-try.jpg", None, 2),
        ("/later/0", None, 2),
        ("/later/soon", None, 2),
        ("/hop/4", None, 5),
        ("/hop/5", Reason.HTTP_CLIENT_ERROR, 6),
        ("/loop", Reason.HTTP_CLIENT_ERROR, 6),
        ("/page.jpg", Reason.NOT_AN_IMAGE, 1),
        ("/empty.jpg", Reason.NOT_AN_IMAGE, 1),
        ("/truncated.jpg", Reason.TRUNCATED_IMAGE, 1),
        ("/huge.png", Reason.TOO_MANY_PIXELS, 1),
        ("/tiny.png", Reason.TOO_SMALL, 1),
        ("/endless", Reason.TOO_MANY_BYTES, 1),
        ("/raw/2000000/500", Reason.TOO_MANY_BYTES, 1),  # promised too much
        ("/raw/900/500", Reason.CONNECTION_FAILED, 3),  # sent less than promised
        ("/raw/500/800", Reason.CONNECTION_FAILED, 3),  # sent more than promised
        ("/raw/x/500", Reason.CONNECTION_FAILED, 3),  # not HTTP
    ],
)
def test_reasons_and_tries(server: PictureServer, path: str, reason: Reason | None, requests: int) -> None:
    (got,) = run([server.url(path)])
    assert got.status == (reason or OK), got.detail
    assert bool(got.detail) == bool(reason)
    made = sum(server.requests.values()) - (server.requests["/ok.jpg"] and path.startswith("/hop"))
    assert made == requests


def test_http_failures_name_the_status(server: PictureServer) -> None:
    got = run([server.url("/status/404"), server.url("/status/502")])
    assert [one.detail for one in got] == ["HTTP 404", "HTTP 502"]


def test_one_deadline_for_everything(server: PictureServer) -> None:
    """A body that drips, an endless chain of tries, and a Retry-After beyond the deadline all end in time."""
    began = time.monotonic()
    drip, later = run([server.url("/drip"), server.url("/later/60")], download_timeout=2)
    assert time.monotonic() - began < 10
    assert drip.status == Reason.TIMEOUT
    assert drip.detail == "not there within 2 s"
    assert later.status == Reason.HTTP_SERVER_ERROR
    assert server.requests["/later/60"] == 1  # waiting longer than there is time is not even begun
    assert server.requests["/drip"] == 1


def test_retry_after_is_honoured(server: PictureServer) -> None:
    began = time.monotonic()
    (got,) = run([server.url("/later/1")])
    assert got.status == OK
    assert time.monotonic() - began >= 1


def test_a_gzip_bomb_is_stopped_while_it_unpacks(server: PictureServer) -> None:
    tracemalloc.start()
    (got,) = run([server.url("/bomb.jpg")])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert got.status == Reason.TOO_MANY_BYTES
    assert peak < 20_000_000


def test_urls_with_spaces_and_umlauts(server: PictureServer) -> None:
    got = run(
        [
            server.url("/größe/rot & grün.jpg"),
            server.url("/gr%C3%B6%C3%9Fe/rot%20&%20gr%C3%BCn.jpg"),
            "  " + server.url("/ok.jpg") + " \n",
            server.url("/away?to=/größe/rot %26 grün.jpg"),
        ]
    )
    assert [one.status for one in got] == [OK] * 4


def test_nobody_listens(server: PictureServer) -> None:
    got = run(["http://127.0.0.1:9/a.jpg", "http://nothing.invalid/a.jpg"])
    assert [one.status for one in got] == [Reason.CONNECTION_FAILED] * 2


def test_a_redirect_may_not_change_the_scheme_or_carry_credentials(server: PictureServer) -> None:
    targets = ["file:///etc/hostname", "gopher://127.0.0.1/", "http://me:secret@127.0.0.1/", "http://[::1"]
    got = run([server.url(f"/away?to={target}") for target in targets])
    assert [one.status for one in got] == [Reason.BAD_URL] * 4


def test_per_host_and_overall_limits(server: PictureServer) -> None:
    run([server.url(f"/n/{number}.jpg") for number in range(60)], download_per_host=3)
    assert server.most_at_once <= 3
    server.reset()
    run([server.url(f"/n/{number}.jpg") for number in range(60)], download_concurrency=2)
    assert server.most_at_once <= 2


def test_the_rate_limit_does_not_eat_the_deadline(server: PictureServer) -> None:
    """Of 16 pictures at 5 a second the last one waits longer for its turn than a picture may take."""
    began = time.monotonic()
    urls = [server.url(f"/n/{number}.jpg") for number in range(16)]
    got = run(urls, download_rate_per_host=5, download_timeout=2)
    assert [one.status for one in got] == [OK] * 16
    assert time.monotonic() - began >= 2


def test_a_dead_host_is_given_up(server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_http, "GIVE_UP_AFTER", 4)
    urls = [server.url(f"/status/500?{number}") for number in range(100)]
    got = run([*urls], download_retries=0, download_per_host=2)
    assert {one.status for one in got} == {Reason.HTTP_SERVER_ERROR}
    assert server.requests["/status/500"] <= 6
    assert "given up" in (got[-1].detail or "")


def test_the_input_is_read_as_it_is_needed(server: PictureServer) -> None:
    taken = 0

    def urls():
        nonlocal taken
        for number in range(400):
            taken += 1
            yield number, server.url(f"/n/{number}.jpg")

    async def main() -> None:
        settings = replace(SETTINGS, download_concurrency=2)
        results = fetch_all(urls(), settings, CatalogFolder(None))
        await anext(results)
        assert taken <= 2 * fetch.WINDOW
        await results.aclose()  # what is under way is cancelled, without a warning

    asyncio.run(main())


def test_a_bug_of_ours_is_not_a_bad_picture(server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Fetched:
        raise KeyError("a bug")

    monkeypatch.setattr(fetch, "stored_picture", broken)
    with pytest.raises(KeyError, match="a bug"):
        run([server.url("/ok.jpg"), server.url("/drip")])


def test_many_pictures_end_as_exactly_one_result_each(server: PictureServer) -> None:
    kinds = ["/n/{}.jpg", "/status/404?{}", "/page.jpg?{}", "/second-try.jpg?{}", "/hop/2?{}", "/truncated.jpg?{}"]
    urls = [server.url(kinds[number % len(kinds)].format(number)) for number in range(300)]
    got = run([*urls, "", "nonsense", "http://", "ftp://x/y", "http://[", "\0"])
    assert len(got) == 306
    assert all(one.status == OK or one.status in set(Reason) for one in got)

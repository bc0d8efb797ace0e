"""Fetching: every picture yields one result with the right reason, in time, with no more requests than needed."""

from __future__ import annotations

import asyncio
import io
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from artifacts.config import DownloadLimits
from artifacts.schema import OK, Reason
from jobs.download import fetch, http
from jobs.download.fetch import NOT_MODIFIED, Fetched, fetch_all
from jobs.download.local import CatalogFolder
from jobs.download.validators import Validators
from tests.servers import PictureServer

LIMITS = DownloadLimits(allow_private_addresses=True, max_picture_bytes=1_000_000, download_retries=2)


def run(urls: Sequence[str], **limits: Any) -> list[Fetched]:
    """Fetch the URLs under LIMITS, changed by `limits`; return the results in the order of the URLs."""

    async def main() -> dict[int, Fetched]:
        results: dict[int, Fetched] = {}
        async for key, fetched in fetch_all(enumerate(urls), replace(LIMITS, **limits), CatalogFolder(None)):
            assert key not in results
            results[key] = fetched
        return results

    results = asyncio.run(main())
    return [results[index] for index in range(len(urls))]


def test_picture_is_kept_as_jpeg_with_both_digests(server: PictureServer) -> None:
    (result,) = run([server.url("/ok.jpg")])
    assert result.status == OK
    assert result.detail is None
    assert (result.width, result.height) == (120, 90)
    assert result.jpeg
    assert Image.open(io.BytesIO(result.jpeg)).size == (120, 90)
    assert result.sha256 != result.source_sha256
    assert result.source_bytes
    assert server.agents == {LIMITS.user_agent}


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
        ("/fail-once.jpg", None, 2),
        ("/retry-after/0", None, 2),
        ("/retry-after/soon", None, 2),
        ("/redirects/4", None, 6),
        ("/redirects/5", Reason.HTTP_CLIENT_ERROR, 6),
        ("/redirect-loop", Reason.HTTP_CLIENT_ERROR, 6),
        ("/page.jpg", Reason.NOT_AN_IMAGE, 1),
        ("/empty.jpg", Reason.NOT_AN_IMAGE, 1),
        ("/truncated.jpg", Reason.TRUNCATED_IMAGE, 1),
        ("/huge.png", Reason.TOO_MANY_PIXELS, 1),
        ("/tiny.png", Reason.TOO_SMALL, 1),
        ("/endless", Reason.TOO_MANY_BYTES, 1),
        ("/raw/2000000/500", Reason.TOO_MANY_BYTES, 1),  # declares too many bytes
        ("/raw/900/500", Reason.CONNECTION_FAILED, 3),  # sends fewer bytes than declared
        ("/raw/500/800", Reason.CONNECTION_FAILED, 3),  # sends more bytes than declared
        ("/raw/x/500", Reason.CONNECTION_FAILED, 3),  # is not HTTP
    ],
)
def test_failure_has_a_reason_and_only_transient_ones_are_retried(
    server: PictureServer, path: str, reason: Reason | None, requests: int
) -> None:
    (result,) = run([server.url(path)])
    assert result.status == (reason or OK), result.detail
    assert bool(result.detail) == bool(reason)
    assert sum(server.requests.values()) == requests


def test_detail_of_an_http_failure_names_the_status(server: PictureServer) -> None:
    results = run([server.url("/status/404"), server.url("/status/502")])
    assert [result.detail for result in results] == ["HTTP 404", "HTTP 502"]


def test_deadline_covers_body_retries_and_retry_after(server: PictureServer) -> None:
    began = time.monotonic()
    drip, rejected = run([server.url("/drip"), server.url("/retry-after/60")], download_timeout=2)
    assert time.monotonic() - began < 10
    assert drip.status == Reason.TIMEOUT
    assert drip.detail == "not complete within 2 s"
    assert rejected.status == Reason.HTTP_SERVER_ERROR
    assert server.requests["/retry-after/60"] == 1  # no attempt that could begin only after the deadline
    assert server.requests["/drip"] == 1


def test_retry_waits_as_long_as_retry_after_says(server: PictureServer) -> None:
    began = time.monotonic()
    (result,) = run([server.url("/retry-after/1")])
    assert result.status == OK
    assert time.monotonic() - began >= 1


def test_gzip_bomb_is_stopped_while_it_is_decompressed(server: PictureServer) -> None:
    tracemalloc.start()
    (result,) = run([server.url("/bomb.jpg")])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.status == Reason.TOO_MANY_BYTES
    assert peak < 20_000_000


def test_urls_with_spaces_and_umlauts_are_fetched(server: PictureServer) -> None:
    results = run(
        [
            server.url("/größe/rot & grün.jpg"),
            server.url("/gr%C3%B6%C3%9Fe/rot%20&%20gr%C3%BCn.jpg"),
            "  " + server.url("/ok.jpg") + " \n",
            server.url("/redirect?to=/größe/rot %26 grün.jpg"),
        ]
    )
    assert [result.status for result in results] == [OK] * 4


def test_unreachable_hosts_fail_with_connection_failed(server: PictureServer) -> None:
    results = run(["http://127.0.0.1:9/a.jpg", "http://nothing.invalid/a.jpg"])
    assert [result.status for result in results] == [Reason.CONNECTION_FAILED] * 2


def test_redirect_to_another_scheme_or_with_credentials_is_a_bad_url(server: PictureServer) -> None:
    targets = ["file:///etc/hostname", "gopher://127.0.0.1/", "http://me:secret@127.0.0.1/", "http://[::1"]
    results = run([server.url(f"/redirect?to={target}") for target in targets])
    assert [result.status for result in results] == [Reason.BAD_URL] * 4


@pytest.mark.parametrize("limit", [{"download_per_host": 3}, {"download_concurrency": 2}])
def test_concurrency_stays_within_the_limit(server: PictureServer, limit: dict[str, int]) -> None:
    run([server.url(f"/n/{number}.jpg") for number in range(60)], **limit)
    assert server.max_concurrency <= max(limit.values())


def test_waiting_for_the_rate_limit_does_not_count_against_the_deadline(server: PictureServer) -> None:
    """Of 16 pictures at 5 a second the last one waits longer for its request than a picture may take."""
    began = time.monotonic()
    urls = [server.url(f"/n/{number}.jpg") for number in range(16)]
    results = run(urls, download_rate_per_host=5, download_timeout=2)
    assert [result.status for result in results] == [OK] * 16
    assert time.monotonic() - began >= 2


def test_host_is_given_up_after_consecutive_failures(server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_HOST_FAILURES", 4)
    urls = [server.url(f"/status/500?{number}") for number in range(100)]
    results = run(urls, download_retries=0, download_per_host=2)
    assert {result.status for result in results} == {Reason.HTTP_SERVER_ERROR}
    assert server.requests["/status/500"] <= 6
    assert "host given up" in (results[-1].detail or "")


def test_requests_are_consumed_only_as_far_as_the_window(server: PictureServer) -> None:
    consumed = 0

    def requests() -> Iterator[tuple[int, str]]:
        nonlocal consumed
        for number in range(400):
            consumed += 1
            yield number, server.url(f"/n/{number}.jpg")

    async def main() -> None:
        results = fetch_all(requests(), replace(LIMITS, download_concurrency=2), CatalogFolder(None))
        await anext(results)
        assert consumed <= 2 * fetch.WINDOW
        await results.aclose()  # cancels the running downloads without a warning

    asyncio.run(main())


def test_unexpected_exception_is_raised_and_not_a_result(
    server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Fetched:
        raise KeyError("a bug")

    monkeypatch.setattr(fetch, "normalize_picture", broken)
    with pytest.raises(KeyError, match="a bug"):
        run([server.url("/ok.jpg"), server.url("/drip")])


def test_each_of_many_pictures_yields_exactly_one_result(server: PictureServer) -> None:
    paths = ["/n/{}.jpg", "/status/404?{}", "/page.jpg?{}", "/fail-once.jpg?{}", "/redirects/2?{}", "/truncated.jpg?{}"]
    urls = [server.url(paths[number % len(paths)].format(number)) for number in range(300)]
    results = run([*urls, "", "nonsense", "http://", "ftp://x/y", "http://[", "\0"])
    assert len(results) == 306
    assert all(result.status == OK or result.status in set(Reason) for result in results)


@pytest.mark.parametrize(
    ("path", "validators", "status"),
    [
        ("/editable/a.jpg", Validators(etag='"v0"'), NOT_MODIFIED),
        ("/editable/a.jpg", Validators(last_modified="Thu, 01 Jan 2026 00:00:00 GMT"), NOT_MODIFIED),
        ("/editable/a.jpg", Validators(etag='"v7"'), OK),
        ("/editable/a.jpg", Validators(), OK),
        ("/redirect?to=/editable/a.jpg", Validators(etag='"v0"'), NOT_MODIFIED),
        # of a picture that the redirect led to before
        ("/redirect?to=/editable/a.jpg", Validators(last_modified="Thu, 01 Jan 2026 00:00:00 GMT"), OK),
        ("/status/304", Validators(etag='"v0"'), NOT_MODIFIED),
        ("/status/304", Validators(), Reason.HTTP_CLIENT_ERROR),
        ("/status/404", Validators(etag='"v0"'), Reason.HTTP_CLIENT_ERROR),
    ],
)
def test_request_with_validators_may_end_as_not_modified(
    server: PictureServer, path: str, validators: Validators, status: str
) -> None:
    async def main() -> list[Fetched]:
        results = fetch_all([("x", server.url(path))], LIMITS, CatalogFolder(None), validators={"x": validators})
        return [fetched async for _, fetched in results]

    (result,) = asyncio.run(main())
    assert result.status == status, result.detail
    assert (result.jpeg is None) == (status != OK)
    assert (result.fetched_at is None) == (status not in (OK, NOT_MODIFIED))


@pytest.mark.parametrize(
    ("header", "kept"),
    [('W/"a b"', True), ("", False), ('"' + "x" * 600 + '"', False), ('"é"', False), ('"\t"', False)],
)
def test_validators_that_could_not_be_sent_back_are_dropped(header: str, kept: bool) -> None:
    found = Validators.of({"ETag": header, "Last-Modified": header}, redirected=False)
    assert found == (Validators(header, header) if kept else Validators())

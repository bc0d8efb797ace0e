"""Addresses: no catalog URL reaches one that is not public, however it is written or resolved."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from tenacity import wait_none

from artifacts.config import DownloadLimits
from artifacts.errors import PictureError
from artifacts.schema import OK, Reason
from jobs.download import http
from jobs.download.addresses import is_public, parse_url, public_socket
from jobs.download.fetch import Fetched, fetch_all
from jobs.download.local import CatalogFolder
from tests.servers import PictureServer

LIMITS = DownloadLimits(download_timeout=3, download_retries=0)


class FakeDns(AbstractResolver):
    """Resolves any name to the next of its lists of addresses."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers: Iterator[Sequence[str]] = iter(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address, port=port, proto=0, flags=0,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            )
            for address in next(self._answers)
        ]  # fmt: skip

    async def close(self) -> None:
        pass


def run(urls: Sequence[str], dns: FakeDns | None = None, limits: DownloadLimits = LIMITS) -> list[Fetched]:
    """Fetch the URLs; return the results in their order."""

    async def main() -> dict[int, Fetched]:
        results = fetch_all(enumerate(urls), limits, CatalogFolder(None), resolver=dns)
        return {key: fetched async for key, fetched in results}

    results = asyncio.run(main())
    return [results[index] for index in range(len(urls))]


BLOCKED = [
    "127.0.0.1", "127.8.9.1", "0.1.2.3", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.8", "0.0.0.0",  # noqa: S104
    "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "2001::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]


@pytest.mark.parametrize("address", BLOCKED)
def test_private_and_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_global_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_private_address_is_blocked_in_every_notation(server: PictureServer) -> None:
    hosts = [
        "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "１２７.0.0.1", "[::1]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    ]  # fmt: skip
    results = run([f"http://{host}:{server.port}/ok.jpg" for host in hosts])
    statuses = {host: result.status for host, result in zip(hosts, results, strict=True)}
    assert statuses == dict.fromkeys(hosts, Reason.BLOCKED_ADDRESS)
    assert not server.requests


@pytest.mark.parametrize("addresses", [[address] for address in BLOCKED] + [["127.0.0.1", "::1", "10.0.0.1"]])
def test_name_that_resolves_to_a_private_address_is_blocked(addresses: list[str], server: PictureServer) -> None:
    (result,) = run([f"http://shop.example:{server.port}/ok.jpg"], FakeDns(addresses))
    assert result.status == Reason.BLOCKED_ADDRESS
    assert not server.requests


def test_localhost_is_blocked_with_the_real_resolver(server: PictureServer) -> None:
    (result,) = run([f"http://LOCALHOST:{server.port}/ok.jpg"])
    assert result.status == Reason.BLOCKED_ADDRESS
    assert not server.requests


def test_rebound_name_is_checked_when_it_is_connected_to(
    server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first attempt gets a public (dead) address, the second attempt this machine's own."""
    connector = aiohttp.TCPConnector
    monkeypatch.setattr(aiohttp, "TCPConnector", lambda **options: connector(**options, use_dns_cache=False))
    monkeypatch.setattr(http, "BACKOFF", wait_none())
    attempts: list[str] = []

    def refuse_public(info: AddrInfoType) -> socket.socket:
        attempts.append(str(info[4][0]))
        if attempts[-1] == "93.184.216.34":
            raise ConnectionRefusedError(111, "refused")
        return public_socket(info)

    monkeypatch.setattr(http, "public_socket", refuse_public)
    dns = FakeDns(["93.184.216.34"], ["127.0.0.1"])
    (result,) = run([f"http://shop.example:{server.port}/ok.jpg"], dns, replace(LIMITS, download_retries=1))
    assert attempts == ["93.184.216.34", "127.0.0.1"]
    assert result.status == Reason.BLOCKED_ADDRESS
    assert not server.requests


def test_every_redirect_is_checked(server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the server's exact address may be connected to here; the targets of its redirects may not."""

    def allow_server(info: AddrInfoType) -> socket.socket:
        if info[4] == ("127.0.0.1", server.port):
            return socket.socket(info[0], info[1], info[2])
        return public_socket(info)

    monkeypatch.setattr(http, "public_socket", allow_server)
    targets = ["http://127.0.0.2/", "http://169.254.169.254/latest/meta-data", "//[::1]/", "http://0x7f.2/"]
    results = run([server.url("/ok.jpg"), *(server.url(f"/redirect?to={target}") for target in targets)])
    assert [result.status for result in results] == [OK, *[Reason.BLOCKED_ADDRESS] * 4]


def test_private_addresses_can_be_allowed(server: PictureServer) -> None:
    urls = [f"http://pictures.shop.example:{server.port}/ok.jpg", server.url("/ok.jpg")]
    results = run(urls, FakeDns(["127.0.0.1"]), replace(LIMITS, allow_private_addresses=True))
    assert [result.status for result in results] == [OK, OK]


@pytest.mark.parametrize(
    "url",
    [
        "http://user@example.com/a.jpg", "http://user:secret@example.com/", "http://:x@example.com/", "http://", "http:///a",
        "http://a..b/x.jpg", "http://.a/", f"http://{'a' * 64}.example/", f"http://{'a.' * 130}example/", "http://a b/",
        "http://[::1", "http://[zz]/", "http://x:99999/", "http://x:port/", "http://good\\@evil/", "gopher://x/1",
        "ftp://x/a.jpg", "data:image/png;base64,AAAA", "javascript:alert(1)", "http://\udc80/",
    ],
)  # fmt: skip
def test_malformed_and_unsupported_urls_are_rejected(url: str) -> None:
    with pytest.raises(PictureError) as error:
        parse_url(url)
    assert error.value.reason == Reason.BAD_URL


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://x.example/a.jpg?sig=%2F%2b~x", "https://x.example/a.jpg?sig=%2F%2b~x"),  # signed: byte for byte
        (" http://x.example/a b.jpg ", "http://x.example/a%20b.jpg"),
        ("http://bücher.example/ü.jpg", "http://xn--bcher-kva.example/%C3%BC.jpg"),
        ("//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("http://x.example/100%.jpg", "http://x.example/100%25.jpg"),
        ("http://0x08.8.8.8/", "http://8.8.8.8/"),
    ],
)
def test_url_is_quoted_only_if_it_needs_quoting(text: str, url: str) -> None:
    assert str(parse_url(text)) == url


@given(
    st.one_of(st.text(max_size=40), st.text(max_size=40).map("http://{}".format), st.from_regex(r"https?://\S{0,30}"))
)
def test_arbitrary_text_is_a_url_or_rejected(text: str) -> None:
    try:
        url = parse_url(text)
    except PictureError as error:
        assert error.reason == Reason.BAD_URL  # noqa: PT017 — most texts are rejected, some are not
    else:
        assert url.scheme in ("http", "https")
        assert url.raw_host
        url.raw_host.encode("idna")  # as the resolver encodes it
        assert url.port is not None
        assert str(url).isascii()
        assert not set(str(url)) & set(" \r\n\t")

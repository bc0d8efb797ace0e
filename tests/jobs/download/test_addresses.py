"""No catalog URL reaches an address that is not public, in whatever form it is written or resolved."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import PictureError
from artifacts.schema import OK, Reason
from artifacts.settings import Settings
from jobs.download import http as fetch_http
from jobs.download.addresses import is_public, parse_url
from jobs.download.fetch import Fetched, fetch_all
from jobs.download.local import CatalogFolder
from tests.servers import PictureServer

SETTINGS = Settings(download_timeout=3, download_retries=0)


class FakeDns(AbstractResolver):
    """Answers with the next of its address lists each time it is asked."""

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


def run(urls: Sequence[str], dns: FakeDns | None = None, settings: Settings = SETTINGS) -> list[Fetched]:
    async def main() -> dict[int, Fetched]:
        return {key: got async for key, got in fetch_all(enumerate(urls), settings, CatalogFolder(None), resolver=dns)}

    results = asyncio.run(main())
    return [results[number] for number in range(len(urls))]


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
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


def test_literal_addresses_in_every_spelling(server: PictureServer) -> None:
    hosts = [
        "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "１２７.0.0.1", "[::1]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    ]  # fmt: skip
    got = run([f"http://{host}:{server.port}/ok.jpg" for host in hosts])
    assert {host: one.status for host, one in zip(hosts, got, strict=True)} == dict.fromkeys(
        hosts, Reason.BLOCKED_ADDRESS
    )
    assert not server.requests


@pytest.mark.parametrize("addresses", [[address] for address in BLOCKED] + [["127.0.0.1", "::1", "10.0.0.1"]])
def test_names_that_resolve_to_blocked_addresses(addresses: list[str], server: PictureServer) -> None:
    (got,) = run([f"http://shop.example:{server.port}/ok.jpg"], FakeDns(addresses))
    assert got.status == Reason.BLOCKED_ADDRESS
    assert not server.requests


def test_localhost_by_the_real_resolver(server: PictureServer) -> None:
    (got,) = run([f"http://LOCALHOST:{server.port}/ok.jpg"])
    assert got.status == Reason.BLOCKED_ADDRESS
    assert not server.requests


def test_a_name_that_changes_its_mind_is_checked_when_it_is_connected_to(
    server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first answer is public (and dead), the answer for the second try is our own machine."""
    monkeypatch.setattr(fetch_http, "_backoff", lambda state: 0)
    monkeypatch.setattr(fetch_http.aiohttp, "TCPConnector", _without_dns_cache(fetch_http.aiohttp.TCPConnector))
    asked: list[str] = []

    def refuse(info: tuple[object, ...]) -> socket.socket:
        address = str(info[4][0])  # type: ignore[index]
        asked.append(address)
        if address == "93.184.216.34":
            raise ConnectionRefusedError(111, "refused")
        return fetch_http.public_socket_unpatched(info)  # type: ignore[attr-defined]

    monkeypatch.setattr(fetch_http, "public_socket_unpatched", fetch_http.public_socket, raising=False)
    monkeypatch.setattr(fetch_http, "public_socket", refuse)
    settings = SETTINGS.model_copy(update={"download_retries": 1})
    dns = FakeDns(["93.184.216.34"], ["127.0.0.1"])
    (got,) = run([f"http://shop.example:{server.port}/ok.jpg"], dns, settings)
    assert asked == ["93.184.216.34", "127.0.0.1"]
    assert got.status == Reason.BLOCKED_ADDRESS
    assert not server.requests


def _without_dns_cache(connector):
    return lambda **options: connector(**{**options, "use_dns_cache": False})


def test_every_hop_is_checked(server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server itself may be reached here, by its exact address; where it redirects to may not."""
    real = fetch_http.public_socket

    def all_but_the_server(info: tuple[object, ...]) -> socket.socket:
        if info[4] == ("127.0.0.1", server.port):
            return socket.socket(info[0], info[1], info[2])  # type: ignore[arg-type]
        return real(info)  # type: ignore[arg-type]

    monkeypatch.setattr(fetch_http, "public_socket", all_but_the_server)
    targets = ["http://127.0.0.2/", "http://169.254.169.254/latest/meta-data", "//[::1]/", "http://0x7f.2/"]
    got = run([server.url("/ok.jpg"), *(server.url(f"/away?to={target}") for target in targets)])
    assert [one.status for one in got] == [OK, *[Reason.BLOCKED_ADDRESS] * 4]


def test_private_addresses_can_be_allowed(server: PictureServer) -> None:
    settings = SETTINGS.model_copy(update={"allow_private_addresses": True})
    dns = FakeDns(["127.0.0.1"])
    got = run([f"http://pictures.shop.example:{server.port}/ok.jpg", server.url("/ok.jpg")], dns, settings)
    assert [one.status for one in got] == [OK, OK]


@pytest.mark.parametrize(
    "url",
    [
        "http://user@example.com/a.jpg", "http://user:secret@example.com/", "http://:x@example.com/", "http://", "http:///a",
        "http://a..b/x.jpg", "http://.a/", f"http://{'a' * 64}.example/", f"http://{'a.' * 130}example/", "http://a b/",
        "http://[::1", "http://[zz]/", "http://x:99999/", "http://x:port/", "http://good\\@evil/", "gopher://x/1",
        "ftp://x/a.jpg", "data:image/png;base64,AAAA", "javascript:alert(1)", "http://\udc80/",
    ],
)  # fmt: skip
def test_not_urls(url: str) -> None:
    with pytest.raises(PictureError) as caught:
        parse_url(url)
    assert caught.value.reason == Reason.BAD_URL


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
def test_urls_are_quoted_once(text: str, url: str) -> None:
    assert str(parse_url(text)) == url


@given(
    st.one_of(st.text(max_size=40), st.text(max_size=40).map("http://{}".format), st.from_regex(r"https?://\S{0,30}"))
)
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = parse_url(text)
    except PictureError as error:
        assert error.reason == Reason.BAD_URL  # noqa: PT017 - most texts are refused, some are not
    else:
        assert url.scheme in ("http", "https")
        assert url.raw_host
        url.raw_host.encode("idna")  # what DNS is asked with
        assert url.port is not None
        assert str(url).isascii()
        assert not set(str(url)) & set(" \r\n\t")

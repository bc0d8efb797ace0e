"""Which URLs of a catalog are fetched, and which addresses may be connected to.

A catalog comes from outside, and the downloader runs inside: a URL must not reach the machine's own services, the
private network or a cloud's metadata service (server-side request forgery). The address is checked where the socket is
created, so the checked address is the one that is connected to: a name that resolves to another address a moment later
(DNS rebinding) gains nothing, and every redirect is checked like the first request.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from aiohttp import AddrInfoType
from yarl import URL

from artifacts.errors import PictureError
from artifacts.schema import Reason

#: A URL that needs no quoting. It is sent unchanged: quoting it again can invalidate signed URLs.
_QUOTED_URL = re.compile(r"(?:[!#$&-;=?-Z\[\]_a-z~]|%[0-9A-Fa-f]{2})+")
_HOST_NAME = re.compile(r"(?!.{254})(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
#: Forms of an IPv4 address that the C library accepts: 2130706433, 0x7f.1, 0177.0.0.1.
_NUMERIC_HOST = re.compile(r"[0-9][0-9a-fx.]*", re.IGNORECASE)

_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PROTOCOL_ASSIGNMENTS = ipaddress.IPv4Network("192.0.0.0/24")  # not global; Python says so only of parts of it


class BlockedAddress(OSError):
    """An address that catalog URLs must not reach.

    Its message is constant, so that aiohttp reports several of them as one.
    """

    def __init__(self) -> None:
        super().__init__("not a public address")


def parse_url(text: str, base: URL | None = None) -> URL:
    """Return the http or https URL that a text denotes.

    Non-ASCII text, spaces and international host names are quoted; a URL that needs no quoting is kept byte for byte.
    A URL without a scheme (`//cdn.example/a.jpg`) is https.

    Args:
        text: as it is written in the catalog or in a redirect.
        base: the URL that relative references are resolved against; without it only absolute URLs are accepted.

    Raises:
        PictureError: BAD_URL.
    """
    text = text.strip()
    try:
        url = URL(text, encoded=bool(_QUOTED_URL.fullmatch(text)))
        if base is not None:
            url = base.join(url)
        elif not url.scheme and text.startswith("//"):
            url = url.with_scheme("https")
        return validate_url(url)
    except ValueError as error:  # raised by yarl and by the idna codec
        raise PictureError(Reason.BAD_URL, f"not a URL: {error}"[:200]) from None


def validate_url(url: URL) -> URL:
    """Return the URL, with a numeric IPv4 host in dotted form.

    Raises:
        PictureError: BAD_URL: another scheme than http and https, credentials, or a host that is no name or address.
        ValueError: a malformed IPv6 address.
    """
    if url.scheme not in ("http", "https"):
        raise PictureError(Reason.BAD_URL, f"only http and https are fetched, not {url.scheme[:20] or 'this'}")
    if url.raw_user is not None or url.raw_password is not None:
        raise PictureError(Reason.BAD_URL, "URLs with credentials are not fetched")
    host = url.raw_host or ""
    if ":" in host:
        ipaddress.IPv6Address(host)  # yarl checks the brackets but not the address inside them
        return url
    if not _HOST_NAME.fullmatch(host):
        raise PictureError(Reason.BAD_URL, f"{host[:60]!r} is not a host name")
    if _NUMERIC_HOST.fullmatch(host):
        try:
            return url.with_host(socket.inet_ntoa(socket.inet_aton(host)))
        except OSError:
            pass  # a name like 0xygen.example; the address that it resolves to is checked on connecting
    return url


def is_public(address: str) -> bool:
    """Return whether an address belongs to the public internet; for an IPv4 address in IPv6 form, whether that does."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ipv4 = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            ipv4 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ipv4 is not None:
            return is_public(str(ipv4))
        if ip not in _GLOBAL_IPV6:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip in _PROTOCOL_ASSIGNMENTS)


def public_socket(info: AddrInfoType) -> socket.socket:
    """Create the socket of one connection attempt (aiohttp's `socket_factory`).

    Raises:
        BlockedAddress: the address is not public.
    """
    family, socket_type, protocol, _, address = info
    if not is_public(str(address[0])):
        raise BlockedAddress
    return socket.socket(family, socket_type, protocol)

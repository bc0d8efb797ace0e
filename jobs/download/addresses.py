"""Where a catalog's URL may lead: what a fetchable URL is, and which addresses may be connected to.

A catalog comes from people outside, and the downloader runs inside: a URL must not reach the machine's own services,
the private network or a cloud's metadata. The address is checked where the socket is made, so it is the address that
is connected to and not one looked up earlier: a name that resolves to something else a moment later (DNS rebinding)
gains nothing, and every redirect is checked like the first request.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from aiohttp import AddrInfoType
from yarl import URL

from artifacts.errors import PictureError
from artifacts.schema import Reason

#: A URL that needs no quoting. It is sent as it is: requoting can invalidate signed URLs.
_READY = re.compile(r"(?:[!#$&-;=?-Z\[\]_a-z~]|%[0-9A-Fa-f]{2})+")
_NAME = re.compile(r"(?!.{254})(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
#: Forms of an IPv4 address that the C library takes: 2130706433, 0x7f.1, 0177.0.0.1.
_NUMERIC = re.compile(r"[0-9][0-9a-fx.]*", re.IGNORECASE)

_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")  # not global; Python says so of parts of it only


class BlockedAddress(OSError):
    """An address that no catalog URL may lead to. Its text is constant, so that several of them are reported as one."""

    def __init__(self) -> None:
        super().__init__("not a public address")


def parse_url(text: str, base: URL | None = None) -> URL:
    """The http or https URL that `text` means.

    Non-ASCII text, spaces and international host names are quoted; anything already quoted is kept byte for byte.
    A URL without a scheme (`//cdn.example/a.jpg`) is https.

    Args:
        text: as the catalog, or a redirect, names it.
        base: what a relative reference is relative to; without it only absolute URLs are taken.

    Raises:
        PictureError: BAD_URL.
    """
    text = text.strip()
    try:
        url = URL(text, encoded=bool(_READY.fullmatch(text)))
        if base is not None:
            url = base.join(url)
        elif not url.scheme and text.startswith("//"):
            url = url.with_scheme("https")
        return validate_url(url)
    except ValueError as error:  # yarl's and the idna codec's errors alike
        raise PictureError(Reason.BAD_URL, f"not a URL: {error}"[:200]) from None


def validate_url(url: URL) -> URL:
    if url.scheme not in ("http", "https"):
        raise PictureError(Reason.BAD_URL, f"only http and https are fetched, not {url.scheme[:20] or 'this'}")
    if url.raw_user is not None or url.raw_password is not None:
        raise PictureError(Reason.BAD_URL, "credentials in the URL are not sent")
    host = url.raw_host or ""
    if ":" in host:
        ipaddress.IPv6Address(host)  # the URL's own brackets are checked by yarl, what is in them is not
        return url
    if not _NAME.fullmatch(host):
        raise PictureError(Reason.BAD_URL, f"{host[:60]!r} is not a host name")
    if _NUMERIC.fullmatch(host):
        try:
            return url.with_host(socket.inet_ntoa(socket.inet_aton(host)))
        except OSError:
            pass  # a name like 0xygen.example; whatever it resolves to is checked
    return url


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, in its IPv4-in-IPv6 forms too."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GLOBAL_IPV6:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip in _PROTOCOLS)


def public_socket(info: AddrInfoType) -> socket.socket:
    """A socket for one connection attempt (aiohttp's `socket_factory`).

    Raises:
        BlockedAddress: the attempt would go to an address that is not public.
    """
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise BlockedAddress
    return socket.socket(family, kind, protocol)

"""HTTP requests as bytes."""

from __future__ import annotations


def request(path: str = "/v1/search", body: bytes = b"{}", *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: shop", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def health_check(*headers: str) -> bytes:
    return request("/healthz", b"", *headers, method="GET")

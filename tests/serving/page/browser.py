"""Serving the page, driving it in Chromium, and reading what it shows."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from PIL import Image
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    FilePayload,
    Locator,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)
from werkzeug.serving import WSGIRequestHandler, make_server

from artifacts.pictures import encode_jpeg

#: Marks of every test that drives the page.
BROWSER_MARKS = [
    pytest.mark.browser,
    # Leaving a page in the middle of a download makes werkzeug drop the file it was sending.
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
]

DESKTOP = {"width": 1200, "height": 800}
PHONE = {"width": 390, "height": 780}
PAGE_SIZE = 24

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        pass  # requests for hundreds of pictures would hide a test's own output


@contextmanager
def serve_app(app: Flask) -> Iterator[str]:
    """Serve an app on a free loopback port; yields its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def chromium() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail(f"the page's tests need a browser: install Chromium (none of {', '.join(BROWSERS)} is on PATH)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


class Visit:
    """A browser tab on the page, with a record of its requests and faults.

    Attributes:
        faults: console errors and warnings, uncaught exceptions, and requests that failed or were refused.
        requests: requested URLs, without the server's address.
        aborted: those of them that the page aborted.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.clear_records()
        page.on("request", lambda request: self.requests.append(request.url.removeprefix(address)))
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", self._record_message)
        page.on("requestfailed", self._record_failure)

    def clear_records(self) -> None:
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.aborted: list[str] = []

    def expect_faults(self, reason: str) -> None:
        """Assert that every recorded fault contains `reason`, and clear them."""
        assert all(reason in fault for fault in self.faults)
        self.faults.clear()

    def _record_message(self, message: ConsoleMessage) -> None:
        # This includes requests with an error status: Chromium reports them on the console.
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _record_failure(self, request: Request) -> None:
        if request.failure == "net::ERR_ABORTED":
            self.aborted.append(request.url.removeprefix(self.address))
        else:
            self.faults.append(f"failed: {request.url} {request.failure}")

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.address + path)
        return self.page

    def text_searches(self) -> list[str]:
        """Requested searches by text, without those that only count facets."""
        return [url for url in self.requests if url.startswith("/v1/search/text?") and "multi_select" not in url]


def titles(page: Page) -> Locator:
    """The titles of the products in the grid."""
    return page.locator("#grid .card h3")


def facet(page: Page, name: str) -> Locator:
    return page.locator("details.facet").filter(has=page.locator("summary", has_text=name))


def expect_first(page: Page, colour: str, count: int = 3) -> None:
    """Expect the first `count` products to be of a colour."""
    for index in range(count):
        expect(titles(page).nth(index)).to_contain_text(colour.title())


def submit_text(page: Page, text: str) -> None:
    page.locator("#query-text").fill(text)
    page.locator("#query-text").press("Enter")


def payload(picture: Image.Image, name: str = "photo.jpg") -> FilePayload:
    return {"name": name, "mimeType": "image/jpeg", "buffer": encode_jpeg(picture)}


def dispatch_picture(page: Page, event_type: str, picture: Image.Image) -> None:
    """Dispatch a paste, dragover or drop event that carries a picture."""
    page.evaluate(
        """([eventType, encoded]) => {
            const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
            const options = { bubbles: true, cancelable: true };
            document.getElementById("results").dispatchEvent(
                eventType === "paste"
                    ? new ClipboardEvent(eventType, { ...options, clipboardData: data })
                    : new DragEvent(eventType, { ...options, dataTransfer: data }),
            );
        }""",
        [event_type, base64.b64encode(encode_jpeg(picture)).decode()],
    )


def scroll_down(page: Page) -> None:
    page.mouse.move(600, 600)
    page.mouse.wheel(0, 3000)


def problem_response(status: int, detail: str, **headers: str) -> Callable[[Route], None]:
    """A route handler that responds with a problem, as the server does."""
    body = json.dumps({"type": "about:blank", "title": "-", "status": status, "detail": detail})
    return lambda route: route.fulfill(
        status=status, body=body, headers=headers, content_type="application/problem+json"
    )

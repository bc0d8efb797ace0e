"""For the tests of the page: a small shop's release, a server in a thread, a browser, and a visitor's notes."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from flask import Flask
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from artifacts.encoders.registry import load_encoder
from artifacts.index.params import SearchParams
from artifacts.pictures import encode_jpeg, thumbnail
from artifacts.schema import segment_schema
from artifacts.segments.writer import SegmentWriter
from artifacts.settings import Settings
from artifacts.store.manifest import Counts, Manifest
from artifacts.store.store import Store

ENCODER = "python:tests.encoders:ColourWords"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

COLOURS = {"red": (200, 30, 40), "green": (30, 160, 60), "blue": (40, 70, 200), "yellow": (230, 200, 40)}
KINDS = {"Clothing": "shirt", "Kitchen": "mug", "Toys": "ball"}
BRANDS = ("Alder", "Birch & Co")
PRODUCTS = 36


def drawn(colour: str, kind: str, lean: int = 0) -> Image.Image:
    """One thing of one colour on a pale ground; `lean` moves it a little."""
    picture = Image.new("RGB", (240, 200), (225, 222, 215))
    pen, box, fill = ImageDraw.Draw(picture), (50 + lean, 30, 170 + lean, 170), COLOURS[colour]
    if kind == "ball":
        pen.ellipse(box, fill)
    elif kind == "mug":
        pen.rounded_rectangle(box, 24, fill)
        pen.arc((150 + lean, 60, 200 + lean, 130), 270, 90, fill, 12)
    else:
        pen.polygon([(50 + lean, 30), (190 + lean, 30), (160 + lean, 170), (80 + lean, 170)], fill)
    return picture


def rows() -> list[dict[str, Any]]:
    """36 products in every colour and kind, at prices of 10 to 45; the first of each dozen has two pictures."""
    made = []
    for number in range(PRODUCTS):
        colour = list(COLOURS)[number % 4]
        category, kind = list(KINDS.items())[number // 4 % 3]
        made += [
            {
                "product_id": f"p/{number:02d}",  # ids are the shop's, and may hold anything
                "picture": picture,
                "image_url": f"images/{number:02d}-{picture}.jpg",
                "title": f"{colour.title()} {kind} no. {number}",
                "category": category,
                "brand": BRANDS[number % 2],
                "price": 10.0 + number,
                "popularity_score": number % 10 / 100,
                "avg_rating": 4.0,
                "added_at": datetime(2026, 1, 1, tzinfo=UTC),
                "colour": colour,
                "kind": kind,
                "recycled": number % 3 == 0,
                "article": f"A-{number:04d}",
            }
            for picture in range(2 if number % 12 == 0 else 1)
        ]
    return made


def publish(releases: Path) -> Settings:
    """Write the shop's release under `releases`."""
    settings = Settings(
        releases=str(releases), cache=releases.parent / "cache", reload_seconds=0.05, deadline_seconds=60
    )
    encoder, store = load_encoder(ENCODER), Store(settings.releases, settings.cache)
    attributes = {"colour": pa.string(), "kind": pa.string(), "recycled": pa.bool_(), "article": pa.string()}
    schema = segment_schema(attributes)
    products = [dict.fromkeys(schema.names) | row for row in rows()]
    pictures = [drawn(row["colour"], row["kind"], row["picture"] * 20) for row in products]
    with store.new_segment("page") as folder:
        writer = SegmentWriter(folder, encoder.dim)
        vectors = encoder.encode_images(pictures).astype(np.float16)
        thumbnails = [thumbnail(encode_jpeg(picture), 160) for picture in pictures]
        writer.add(pa.Table.from_pylist(products, schema), vectors, thumbnails)
        info = writer.finish("page", encoder.id, schema, settings.pipeline.index)
    draft = Manifest(
        version="",
        created_at=datetime.now(UTC),
        encoder=encoder.describe(),
        segments=[store.reference("page")],
        search={"image": SearchParams(), "text": SearchParams()},
        counts=Counts(input_rows=info.products, indexed=info.products, pictures=info.rows),
    )
    store.publish(draft.named(), {}, expected=None)
    return settings


class _Quiet(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        pass  # hundreds of pictures would hide what a test has to say


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """An app on a free loopback port; yields its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
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
    """A visitor's page, and what went wrong on it.

    Attributes:
        faults: errors and warnings of the console, scripts that threw, requests that failed or were refused.
        requests: addresses that were asked for, without the server's own.
        given_up: those of them that the page itself aborted.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.forget()
        page.on("request", lambda request: self.requests.append(request.url.removeprefix(address)))
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", self._note_message)
        page.on("requestfailed", self._note_failure)

    def forget(self) -> None:
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.given_up: list[str] = []

    def _note_message(self, message: ConsoleMessage) -> None:
        # A refused request is in here too: Chromium says so on the console.
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _note_failure(self, request: Request) -> None:
        if request.failure == "net::ERR_ABORTED":
            self.given_up.append(request.url.removeprefix(self.address))
        else:
            self.faults.append(f"failed: {request.url} {request.failure}")

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.address + path)
        return self.page

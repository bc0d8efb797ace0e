"""One server and one browser tab for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from serving.app import create_app
from serving.services import services_of
from tests.serving.page.browser import DESKTOP, Visit, chromium, serve_app
from tests.serving.page.shop import publish_shop

expect.set_options(timeout=20_000)


# Not of session scope: while Playwright runs, no other test could start an event loop.
@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    app = create_app(publish_shop(tmp_path_factory.mktemp("page") / "releases").server)
    watcher = services_of(app).watcher
    try:
        assert watcher.first_poll.wait(60)
        with serve_app(app) as address:
            yield address
    finally:
        watcher.stop()


@pytest.fixture(scope="package")
def tab(address: str) -> Iterator[Visit]:
    """One tab for all tests: opening a new one takes longer than a test."""
    with chromium() as browser:
        page = browser.new_page(reduced_motion="reduce")
        page.set_default_timeout(20_000)
        yield Visit(page, address)


@pytest.fixture
def visit(tab: Visit, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A new visit, in a window of the indirect parameter's size. Faults that a test does not expect fail it."""
    tab.page.set_viewport_size(getattr(request, "param", DESKTOP))
    yield tab
    tab.page.unroute_all()
    tab.page.goto("about:blank")
    faults = tab.faults
    tab.clear_records()
    assert faults == []

"""The page's layout on phones and desktops, and its accessibility."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import AXE
from tests.serving.page.browser import BROWSER_MARKS, DESKTOP, PHONE, Visit, expect_first, facet, payload
from tests.serving.page.shop import draw_product

pytestmark = BROWSER_MARKS


def assert_no_horizontal_scrolling(page: Page) -> None:
    content_width, window_width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert content_width <= window_width


@pytest.mark.parametrize("visit", [PHONE, {"width": 360, "height": 640}], indirect=True, ids=["390", "360"])
def test_filters_open_in_a_drawer_on_a_phone(visit: Visit) -> None:
    page = visit.open("/?q=red")
    expect_first(page, "red")
    expect(page.locator("#rail")).to_be_hidden()
    assert_no_horizontal_scrolling(page)
    page.get_by_role("button", name="Filters").click()
    drawer = page.get_by_role("dialog", name="Filters")
    expect(drawer).to_be_visible()
    assert_no_horizontal_scrolling(page)
    drawer.get_by_role("checkbox", name="Toys").check()
    drawer.get_by_role("button", name="Show 12 products").click()
    expect(drawer).to_be_hidden()
    expect(page.get_by_role("button", name="Filters (1)")).to_be_focused()
    page.get_by_role("button", name="Filters (1)").click()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    page.locator("#grid .card-open").first.click()
    expect(page.locator("#similar-products .card")).to_have_count(8)
    assert_no_horizontal_scrolling(page)
    page.go_back()
    expect(page.locator("#product")).to_be_hidden()
    page.get_by_role("link", name="Lookalike").click()
    expect(page.locator("#hero")).to_be_visible()
    assert_no_horizontal_scrolling(page)


def test_layout_does_not_shift_while_the_page_loads(visit: Visit) -> None:
    visit.page.add_init_script(
        """window.layoutShift = 0;
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.layoutShift += entry.value;
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    for path in ("/", "/?q=red&category=Kitchen", "/?like=p%2F05"):
        page = visit.open(path)
        expect(page.locator("#grid .frame.loaded").nth(3)).to_be_visible()
        expect(facet(page, "Category").locator("label").first).to_be_visible()
        assert page.evaluate("window.layoutShift") < 0.05


def open_crop_dialog(page: Page) -> None:
    page.locator("#file-input").set_input_files(payload(draw_product("red", "mug")))
    page.get_by_role("button", name="Choose a part").click()
    expect(page.get_by_role("dialog", name="Which part?")).to_be_visible()


def open_filters(page: Page) -> None:
    if page.get_by_role("button", name="Filters").is_visible():
        page.get_by_role("button", name="Filters").click()


#: The page's states by name: the address, and how to get from there to the state.
STATES: dict[str, tuple[str, Callable[[Page], None]]] = {
    "start": ("/", lambda page: None),
    "results": ("/?q=red&category=Toys&filter=recycled:true&price_min=12", lambda page: None),
    "mixed": ("/?q=red&like=p%2F05&unlike=p%2F02&order=-price&max_per_category=5", lambda page: None),
    "pictures": (
        "/",
        lambda page: page.locator("#file-input").set_input_files([payload(draw_product("red", "mug"))] * 3),
    ),
    "product": (
        "/?q=red&product=p%2F00",
        lambda page: expect(page.locator("#similar-products .card")).to_have_count(8),
    ),
    "crop": ("/", open_crop_dialog),
    "filters": ("/?q=red", open_filters),
    "nothing": ("/?q=red&price_min=9000", lambda page: expect(page.locator("#message")).to_be_visible()),
}


@pytest.mark.axe
@pytest.mark.parametrize("visit", [PHONE, DESKTOP], indirect=True, ids=["phone", "desktop"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_serious_violation(visit: Visit, state: str) -> None:
    path, enter = STATES[state]
    page = visit.open(path)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    expect(facet(page, "Category")).to_be_attached()  # open or not, and without values if there are no results
    enter(page)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    page.evaluate(AXE.read_text())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        # Colours change by transitions: let them finish.
        page.evaluate(
            "() => Promise.allSettled(document.getAnimations()"
            ".filter((animation) => animation instanceof CSSTransition).map((animation) => animation.finished))"
        )
        violations = page.evaluate("async () => (await axe.run()).violations")
        serious = [
            f"{scheme}: {violation['id']}: {node['html'][:200]} ({node['failureSummary']})"
            for violation in violations
            for node in violation["nodes"]
            if violation["impact"] in ("serious", "critical")
        ]
        assert serious == []
    page.emulate_media(color_scheme="light")

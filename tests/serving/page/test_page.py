"""The web page, driven in Chromium against a small release: what a shopper does, and what the page answers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Page, Route, expect

from artifacts.pictures import encode_jpeg
from serving.app import PAGE, create_app
from serving.services import services_of
from tests.conftest import AXE
from tests.serving.page.page_fixtures import PRODUCTS, Visit, chromium, drawn, publish, serving

pytestmark = [
    pytest.mark.browser,
    # Leaving a page in the middle of a download makes werkzeug drop the file it was sending.
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
]

PHONE = {"width": 390, "height": 780}
PAGE_SIZE = 24

expect.set_options(timeout=20_000)


# Of this module, not of the session: while Playwright runs, no other test could start an event loop.
@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    app = create_app(publish(tmp_path_factory.mktemp("page") / "releases").server)
    watcher = services_of(app).watcher
    try:
        assert watcher.first_poll.wait(60)
        with serving(app) as address:
            yield address
    finally:
        watcher.stop()


@pytest.fixture(scope="module")
def visitor(address: str) -> Iterator[Visit]:
    """One tab for all tests: a new one for each takes longer than the tests do."""
    with chromium() as browser:
        page = browser.new_page(reduced_motion="reduce")
        page.set_default_timeout(20_000)
        yield Visit(page, address)


@pytest.fixture
def visit(visitor: Visit, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A new visit, on a screen of the size that the test asks for by `indirect`; nothing may go wrong unseen."""
    visitor.page.set_viewport_size(getattr(request, "param", {"width": 1200, "height": 800}))
    yield visitor
    visitor.page.unroute_all()
    visitor.page.goto("about:blank")
    faults = visitor.faults
    visitor.forget()
    assert faults == []


def titles(page: Page) -> Locator:
    return page.locator("#grid .card h3")


def expect_first(page: Page, colour: str, count: int = 3) -> None:
    """The first products are of a colour."""
    for place in range(count):
        expect(titles(page).nth(place)).to_contain_text(colour.title())


def payload(picture: Image.Image, name: str = "photo.jpg") -> FilePayload:
    return {"name": name, "mimeType": "image/jpeg", "buffer": encode_jpeg(picture)}


def hand_over(page: Page, kind: str, picture: Image.Image) -> None:
    """Drop a picture on the page, or paste it, as the browser would tell of it."""
    page.evaluate(
        """([kind, encoded]) => {
            const bytes = Uint8Array.from(atob(encoded), (each) => each.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
            const about = { bubbles: true, cancelable: true };
            document.getElementById("results").dispatchEvent(
                kind === "paste"
                    ? new ClipboardEvent(kind, { ...about, clipboardData: data })
                    : new DragEvent(kind, { ...about, dataTransfer: data }),
            );
        }""",
        [kind, base64.b64encode(encode_jpeg(picture)).decode()],
    )


def scroll_down(page: Page) -> None:
    page.mouse.move(600, 600)
    page.mouse.wheel(0, 3000)


def facet(page: Page, name: str) -> Locator:
    return page.locator("details.facet").filter(has=page.locator("summary", has_text=name))


def answer(status: int, detail: str, **headers: str) -> Callable[[Route], None]:
    """Answers as the server does when something is wrong."""
    body = json.dumps({"type": "about:blank", "title": "-", "status": status, "detail": detail})
    return lambda route: route.fulfill(
        status=status, body=body, headers=headers, content_type="application/problem+json"
    )


# ── searching ────────────────────────────────────────────────────────────────────────────────────────────────────────


def searches(visit: Visit) -> list[str]:
    """Searches by words that were asked of the server, without those that only count."""
    return [each for each in visit.requests if each.startswith("/v1/search/text?") and "multi_select" not in each]


def test_begins_with_products_and_searches_to_try(visit: Visit) -> None:
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    expect(page.locator("#hero")).to_be_visible()
    expect(page.locator("#count")).to_contain_text(f"{PRODUCTS} products")
    expect(page.locator("#release")).to_contain_text("Release 2")
    examples = page.locator(".example")
    expect(examples).to_have_count(3)  # one for each kind of thing
    words = examples.first.inner_text()
    examples.first.click()
    expect(page.locator("#heading")).to_have_text(f"Results for “{words}”")
    expect(page.locator("#words")).to_have_value(words)
    expect(page.locator("#hero")).to_be_hidden()
    expect_first(page, words.split()[0])


def test_words_find_what_they_say(visit: Visit) -> None:
    page = visit.open()
    page.locator("#words").fill("something red")
    page.locator("#words").press("Enter")
    expect_first(page, "red", 9)
    expect(titles(page).nth(9)).not_to_contain_text("Red")
    expect(page).to_have_url(f"{visit.address}/?q=something+red")
    bars = page.locator("#grid .closeness")
    expect(bars.first).to_have_attribute("aria-label", re.compile(r"^Similarity 0\.\d{3}$"))
    widths = [float(bar["width"]) for bar in map(Locator.bounding_box, bars.locator("i").all()) if bar]
    assert widths[0] > 2 * widths[-1]


def test_the_next_products_come_by_scrolling(visit: Visit) -> None:
    page = visit.open("/?q=green")
    expect(titles(page)).to_have_count(PAGE_SIZE)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#more")).to_be_visible()  # the end of the list is far below
    page.locator("#words").focus()
    scroll_down(page)
    expect(titles(page)).to_have_count(PRODUCTS)
    expect(page.locator("#words")).to_be_focused()  # what comes by itself takes no focus
    expect(page.locator("#more")).to_be_hidden()
    assert [("cursor=" in each) for each in searches(visit)] == [False, False, True]  # the catalog's own is the first


def test_a_page_that_is_lost_on_the_way_can_be_asked_for_again(visit: Visit) -> None:
    page = visit.open("/?q=green")
    page.route("**/v1/search/text?*cursor=*", lambda route: route.abort(), times=1)
    expect(titles(page)).to_have_count(PAGE_SIZE)
    scroll_down(page)
    expect(page.locator("#notice")).to_contain_text("cannot be reached")
    page.get_by_role("button", name="Show more").click()
    expect(titles(page)).to_have_count(PRODUCTS)
    assert all("ERR_FAILED" in fault for fault in visit.faults)
    visit.faults.clear()


def test_pages_of_a_release_that_is_gone_begin_anew(visit: Visit) -> None:
    page = visit.open("/?q=green")
    gone = answer(410, "cursor: version 1 is not served any more: search again from the first page")
    page.route("**/v1/search/text?*cursor=*", gone, times=1)
    expect(titles(page)).to_have_count(PAGE_SIZE)
    scroll_down(page)
    expect(page.locator("#notice")).to_contain_text("The catalog has changed")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    assert len([each for each in searches(visit) if "q=green" in each and "cursor" not in each]) == 2
    assert all("410" in fault for fault in visit.faults)
    visit.faults.clear()


@pytest.mark.parametrize("visit", [{"width": 1200, "height": 400}], indirect=True)
def test_shows_more_until_there_is_no_more(visit: Visit) -> None:
    page = visit.open("/?q=green")
    expect(titles(page)).to_have_count(PAGE_SIZE)
    page.get_by_role("button", name="Show more").press("Enter")  # from the keyboard there is no scrolling
    expect(titles(page)).to_have_count(PRODUCTS)
    expect(page.locator("#grid .card-open").nth(PAGE_SIZE)).to_be_focused()
    expect(page.locator("#more")).to_be_hidden()
    ids = page.locator("#grid .card").evaluate_all("cards => cards.map((card) => card.dataset.id)")
    assert len(set(ids)) == PRODUCTS


def test_what_is_on_its_way_already_is_not_asked_for_again(visit: Visit) -> None:
    page = visit.open("/?q=green")
    held: list[Route] = []
    page.route("**/v1/search/text?*cursor=*", lambda route: held.append(route))
    expect(titles(page)).to_have_count(PAGE_SIZE)
    with page.expect_request("**/v1/search/text?*cursor=*"):
        scroll_down(page)
    page.get_by_role("button", name="Show more").press("Enter")
    expect(page.locator("#more")).to_be_disabled()
    held[0].continue_()
    expect(titles(page)).to_have_count(PRODUCTS)
    expect(page.locator("#grid .card-open").nth(PAGE_SIZE)).to_be_focused()
    assert len(held) == 1


def test_order_and_variety_are_asked_of_the_server(visit: Visit) -> None:
    page = visit.open("/?q=blue")
    expect_first(page, "blue")
    page.locator("#sort").select_option("Most similar")
    expect(page).to_have_url(re.compile("order=similar"))
    expect(page.locator("#count")).to_contain_text("most similar first")
    page.get_by_role("switch", name="Variety").press("Space")
    expect(page).to_have_url(re.compile("max_per_category=5"))
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    asked = [each for each in searches(visit) if "q=blue" in each]
    assert ["rerank=false" in each for each in asked] == [False, True, True]
    assert ["max_per_category=0" in each for each in asked] == [True, True, False]
    page.locator("#sort").select_option("Price: high to low")
    expect(page).to_have_url(re.compile("order=-price"))
    expect(page.locator("#count")).to_contain_text("best matches by price")
    expect(titles(page).first).to_contain_text(f"no. {PRODUCTS - 1}")
    page.reload()
    expect(titles(page).first).to_contain_text(f"no. {PRODUCTS - 1}")
    expect(page.locator("#sort")).to_have_value("-price")


def test_a_dropped_picture_is_searched_with(visit: Visit) -> None:
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    hand_over(page, "dragover", drawn("blue", "mug"))
    expect(page.locator("#curtain")).to_be_visible()
    hand_over(page, "drop", drawn("blue", "mug"))
    expect(page.locator("#curtain")).to_be_hidden()
    expect(page.locator("#heading")).to_have_text("Like your picture")
    expect_first(page, "blue")
    # A second one beside it, and away with the first.
    page.locator("#choose").set_input_files(payload(drawn("yellow", "mug")))
    expect(page.locator("#heading")).to_have_text("Like your 2 pictures")
    expect(page.locator(".tray-item")).to_have_count(2)
    page.get_by_role("button", name="Remove picture 1").click()
    expect_first(page, "yellow")
    page.get_by_role("button", name="Remove picture 1").click()
    expect(page.locator("#hero")).to_be_visible()
    expect(page.locator("#words")).to_be_focused()


def test_words_and_pictures_together_with_a_weight(visit: Visit) -> None:
    page = visit.open()
    hand_over(page, "paste", drawn("green", "ball"))
    expect_first(page, "green")
    page.locator("#words").fill("yellow")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#heading")).to_have_text("“yellow”, like your picture")
    expect(page.locator(".tray-item")).to_have_count(1)
    weight = page.get_by_role("slider", name="Words or looks")
    expect(weight).to_have_attribute("aria-valuetext", "70 % pictures, 30 % words")
    for _ in range(2):
        weight.press("ArrowRight")
    expect(page).to_have_url(re.compile("balance=90"))
    expect_first(page, "green")
    expect(weight).to_be_focused()
    weight.press("Home")
    expect(weight).to_have_attribute("aria-valuetext", "0 % pictures, 100 % words")
    expect_first(page, "yellow", 9)
    # Without the words it is the picture alone, and with the history it is all there again.
    page.locator("#words").fill("")
    page.locator("#words").press("Enter")
    expect(page.locator("#heading")).to_have_text("Like your picture")
    expect(weight).to_be_hidden()
    expect_first(page, "green")
    page.go_back()
    expect(page.locator("#words")).to_have_value("yellow")
    expect_first(page, "yellow", 9)
    page.reload()  # pictures live as long as the page
    expect(page.locator("#notice")).to_contain_text("add them again")
    expect(page.locator("#heading")).to_have_text("Results for “yellow”")


def test_what_is_not_a_picture_is_not_searched_with(visit: Visit) -> None:
    page = visit.open()
    page.locator("#choose").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"words"})
    expect(page.locator("#notice")).to_contain_text("not a picture")
    nine = [payload(drawn("red", "ball"), f"{number}.jpg") for number in range(9)]
    page.locator("#choose").set_input_files(nine)
    expect(page.locator("#notice")).to_contain_text("At most 8")
    expect(page.locator(".tray-item")).to_have_count(8)


def test_a_part_of_a_picture_is_searched_with(visit: Visit) -> None:
    both = Image.new("RGB", (480, 200))
    both.paste(drawn("red", "mug"), (0, 0))
    both.paste(drawn("blue", "mug"), (240, 0))
    page = visit.open()
    page.locator("#choose").set_input_files(payload(both))
    page.get_by_role("button", name="Choose a part").click()
    expect(page.locator("#crop-picture")).to_have_js_property("complete", True)
    stage = page.locator("#stage").bounding_box()
    assert stage
    x, y, width, height = stage["x"], stage["y"], stage["width"], stage["height"]
    page.mouse.move(x + 0.52 * width, y + 0.1 * height)
    page.mouse.down()
    page.mouse.move(x + 0.8 * width, y + 0.8 * height)
    page.mouse.move(x + 0.9 * width, y + 0.9 * height)
    page.mouse.up()
    right = page.get_by_label("Right", exact=True)
    expect(right).to_have_value("90")
    right.press("ArrowRight")
    # The browser does not tell Playwright of a body with files in it.
    page.evaluate(
        """() => {
            const send = window.fetch;
            window.fetch = (url, options) => {
                if (options?.body) window.crop = options.body.get("crop");
                return send(url, options);
            };
        }"""
    )
    page.get_by_role("button", name="Search this part").click()
    expect(page.locator("#heading")).to_have_text("Like that part of your picture")
    expect_first(page, "blue")
    sent = [float(edge) for edge in page.evaluate("window.crop").split(",")]
    assert sent == pytest.approx([0.52, 0.1, 0.91, 0.9], abs=0.01)
    # Escape changes nothing.
    page.get_by_role("button", name="A part of it").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="A part of it")).to_be_focused()


def test_a_search_that_is_overtaken_is_given_up(visit: Visit) -> None:
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    held: list[Route] = []
    page.route("**/v1/search/text?*q=red*", lambda route: held.append(route))
    page.locator("#words").fill("red")
    page.locator("#words").press("Enter")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    page.locator("#words").fill("blue")
    page.locator("#words").press("Enter")
    expect_first(page, "blue")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    assert len(held) == 1
    assert [each for each in visit.given_up if "q=red" in each]


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_filters_narrow_and_chips_take_them_back(visit: Visit) -> None:
    page = visit.open("/?q=red")
    category, chips, count = facet(page, "Category"), page.locator(".chip"), page.locator("#count")
    kitchen = category.get_by_role("checkbox", name="Kitchen")
    kitchen.check()
    expect(count).to_contain_text("12 products")
    expect(kitchen).to_be_focused()
    expect(chips).to_have_count(1)
    expect_first(page, "red", 3)
    # Values of one attribute are alternatives, so the others keep their counts.
    expect(category.locator("label", has_text="Toys").locator(".n")).to_have_text("12")
    expect(facet(page, "Colour").locator("label", has_text="red").locator(".n")).to_have_text("3")
    category.get_by_role("checkbox", name="Toys").check()
    expect(count).to_contain_text("24 products")
    page.get_by_label("Lowest price").fill("20")
    page.get_by_label("Highest price").fill("29.5")
    page.get_by_label("Highest price").press("Enter")
    expect(count).to_contain_text(re.compile(r"^[5-8] products"))
    expect(page).to_have_url(re.compile("category=Kitchen&category=Toys&price_min=20&price_max=29.5"))
    prices = [float(text) for text in page.locator("#grid .price-tag").all_inner_texts()]
    assert prices
    assert all(20 <= price <= 29.5 for price in prices)
    page.get_by_role("button", name="Remove Category Kitchen").click()
    expect(chips).to_have_count(3)
    expect(category.get_by_role("checkbox", name="Kitchen")).not_to_be_checked()
    page.get_by_role("button", name="Clear all").first.click()
    expect(count).to_contain_text(f"{PRODUCTS} products")
    expect(page).to_have_url(f"{visit.address}/?q=red")


def test_attributes_with_few_values_can_be_chosen(visit: Visit) -> None:
    page = visit.open()
    expect(page.locator("details.facet summary")).to_have_text(["Category", "Colour", "Kind", "Recycled", "Brand"])
    facet(page, "Recycled").get_by_role("checkbox", name="yes").check()
    expect(page.locator("#count")).to_contain_text("12 products")
    expect(page.locator("#heading")).to_have_text("Browsing")
    facet(page, "Colour").get_by_role("checkbox", name="green").check()
    expect(page.locator("#count")).to_contain_text("3 products")
    expect(page).to_have_url(re.compile("filter=recycled%3Atrue&filter=colour%3Agreen"))


def test_nothing_found_says_so_and_offers_a_way_out(visit: Visit) -> None:
    page = visit.open("/?q=red&price_min=9000")
    expect(page.locator("#message")).to_contain_text("Nothing matches these filters")
    expect(page.locator("#count")).to_contain_text("0 products")
    page.get_by_role("button", name="Clear all filters").click()
    expect_first(page, "red")


def test_a_price_range_upside_down_is_refused_on_the_spot(visit: Visit) -> None:
    page = visit.open("/?q=red")
    expect_first(page, "red")
    page.get_by_label("Lowest price").fill("40")
    page.get_by_label("Lowest price").press("Enter")
    expect(page).to_have_url(re.compile("price_min=40"))
    page.get_by_label("Highest price").fill("20")
    page.get_by_label("Highest price").press("Enter")
    assert page.get_by_label("Highest price").evaluate("input => input.validationMessage")
    assert "price_max" not in page.url


# ── products ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_more_like_a_product(visit: Visit) -> None:
    page = visit.open("/?filter=colour:yellow")
    first = page.locator("#grid .card").first
    name = first.locator("h3").inner_text()
    first.get_by_role("link", name="More like this").click()
    expect(page).to_have_title(f"More like {name} – Lookalike")
    expect(page.locator("#tray")).to_contain_text(name)
    page.get_by_role("button", name="Remove Colour yellow").click()
    expect_first(page, "yellow")
    expect(titles(page).filter(has_text=re.compile(f"^{re.escape(name)}$"))).to_have_count(0)
    page.reload()
    expect(page.locator("#tray")).to_contain_text(name)
    page.get_by_role("button", name=f"Take back: More like {name}").click()
    expect(page.locator("#hero")).to_be_visible()


def test_results_steer_the_search(visit: Visit) -> None:
    page = visit.open("/?q=red")
    expect_first(page, "red")
    card = page.locator("#grid .card").first
    name = card.locator("h3").inner_text()
    card.get_by_role("link", name="Less like this").click()
    expect(page.locator("#tray .unlike")).to_contain_text(name)
    expect(page.locator("#words")).to_have_value("red")
    expect(titles(page).filter(has_text=re.compile(f"^{re.escape(name)}$"))).to_have_count(0)
    expect(page.locator("#count")).to_contain_text(f"{PRODUCTS - 1} products")
    # What is liked counts beside the words, and may outweigh them.
    blue = page.locator("#grid .card").filter(has_text="Blue shirt").first
    blue.get_by_role("link", name="More like this").click()
    expect(page.locator("#heading")).to_have_text("“red”, like this one")
    weight = page.get_by_role("slider", name="Words or looks")
    weight.press("End")
    expect(weight).to_have_attribute("aria-valuetext", "100 % products, 0 % words")
    expect_first(page, "blue")
    # Other words are a new subject: what was said of the old results goes with them.
    page.locator("#words").fill("green")
    page.locator("#words").press("Enter")
    expect_first(page, "green")
    expect(page.locator("#tray")).to_be_hidden()


def test_less_like_something_without_any_words(visit: Visit) -> None:
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    red = page.locator("#grid .card").filter(has_text="Red").first
    red.get_by_role("link", name="Less like this").click()
    expect(page.locator("#heading")).to_have_text("Browsing")
    expect(page.locator("#count")).to_contain_text(f"{PRODUCTS - 1} products")
    expect(titles(page).first).not_to_contain_text("Red")


def test_opened_results_are_told_as_clicks(visit: Visit) -> None:
    clicks: list[dict[str, Any]] = []
    visit.page.on("request", lambda each: clicks.append(each.post_data_json) if "/events/click" in each.url else None)
    page = visit.open("/?q=red&category=Toys")
    card = page.locator("#grid .card").nth(4)
    with page.expect_response("**/v1/events/click") as told:
        card.locator(".card-open").click()
    assert told.value.status == 204
    assert clicks == [
        {"search_id": card.get_attribute("data-search"), "product_id": card.get_attribute("data-id"), "position": 4}
    ]
    expect(page.locator("#product-alike .card").first).to_be_visible()
    page.locator("#product-alike .card-open").first.click()  # not a result of that search
    expect(page.get_by_role("dialog")).to_be_visible()
    assert len(clicks) == 1


def test_a_product_opens_over_the_results_and_closes(visit: Visit) -> None:
    page = visit.open("/?q=red&category=Clothing")
    opener = page.locator("#grid .card-open").filter(has_text="Red shirt no. 0")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Red shirt no. 0")
    expect(dialog).to_be_visible()
    for text in ("Alder", "10.00", "Clothing", "A-0000", "yes", "p/00"):
        expect(dialog).to_contain_text(text)
    dialog.get_by_role("button", name="Picture 2 of 2").click()
    expect(dialog.locator(".large img")).to_have_attribute("src", re.compile("picture=1$"))
    expect(page).to_have_url(re.compile("product=p%2F00"))
    # On to a similar one, back to this, and out by Escape in one step.
    alike = dialog.locator("#product-alike .card-open")
    expect(alike).to_have_count(8)
    other = alike.first.locator("h3").inner_text()
    alike.first.click()
    expect(page.get_by_role("dialog", name=other)).to_be_visible()
    page.go_back()
    expect(dialog).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("dialog", name=other)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#product")).to_be_hidden()
    expect(page).to_have_url(f"{visit.address}/?q=red&category=Clothing")
    expect(opener).to_be_focused()


def test_addresses_bring_back_what_they_show(visit: Visit) -> None:
    page = visit.open("/?q=green&filter=kind:mug&price_max=40&product=p%2F05")
    expect(page.get_by_role("dialog", name="Green mug no. 5")).to_be_visible()
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("#product")).to_be_hidden()
    expect(page.locator("#words")).to_have_value("green")
    expect(page.locator(".chip")).to_have_count(2)
    expect_first(page, "green")
    page.locator("#words").fill("blue")
    page.locator("#words").press("Enter")
    expect_first(page, "blue")
    asked = len(searches(visit))
    page.go_back()
    expect_first(page, "green")
    expect(page.locator("#words")).to_have_value("green")
    # What was found before is kept: only the counts are asked for again.
    assert len(searches(visit)) == asked
    page.go_forward()
    expect_first(page, "blue")
    page.reload()
    expect_first(page, "blue")
    expect(page.locator(".chip")).to_have_count(2)


def test_an_unknown_product_is_told(visit: Visit) -> None:
    page = visit.open("/?q=red&product=nowhere")
    expect(page.locator("#product").get_by_role("alert")).to_contain_text("no product 'nowhere'")
    page.keyboard.press("Escape")
    expect_first(page, "red")
    assert all("404" in fault for fault in visit.faults)
    visit.faults.clear()


# ── when something is wrong ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_server_refuses_is_told_in_its_words(visit: Visit) -> None:
    page = visit.open("/?q=red&price_min=40&price_max=20")
    expect(page.get_by_role("alert")).to_contain_text("40.0 is above price_max 20.0")
    page.get_by_role("alert").get_by_role("button", name="Clear all filters").click()
    expect_first(page, "red")
    assert visit.faults
    assert all("422" in fault for fault in visit.faults)
    visit.faults.clear()


def test_waits_for_a_release_and_goes_on_by_itself(visit: Visit) -> None:
    refused: list[str] = []

    def refuse(route: Route) -> None:
        if len(refused) >= 3:
            return route.fallback()
        refused.append(route.request.url)
        return answer(503, "no release is loaded yet", **{"Retry-After": "1"})(route)

    visit.page.route("**/v1/**", refuse)
    page = visit.open("/?q=red")
    expect(page.locator("#message")).to_contain_text("tries again by itself")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect_first(page, "red")
    expect(page.locator("#message")).to_be_hidden()
    expect(facet(page, "Category").get_by_role("checkbox")).to_have_count(3)
    assert all("503" in fault for fault in visit.faults)
    visit.faults.clear()


def test_a_fault_can_be_tried_again(visit: Visit) -> None:
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    page.route("**/v1/search/text?*q=red*", lambda route: route.abort(), times=1)
    page.locator("#words").fill("red")
    page.locator("#words").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.get_by_role("button", name="Try again").click()
    expect_first(page, "red")
    assert all("ERR_FAILED" in fault for fault in visit.faults)
    visit.faults.clear()


def test_an_encoder_without_words_is_explained(visit: Visit) -> None:
    def without_words(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, json=reply.json() | {"supports_text": False})

    visit.page.route("**/v1/release", without_words)
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    expect(page.locator("#words")).to_be_disabled()
    expect(page.locator("#words")).to_have_attribute("placeholder", "This catalog is searched by picture")
    assert not [each for each in visit.requests if each.startswith("/v1/search/text")]
    page.locator(".example").first.click()
    expect(page.locator("#heading")).to_contain_text("More like")


# ── screens and files ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("visit", [PHONE, {"width": 360, "height": 640}], indirect=True, ids=["390", "360"])
def test_on_a_phone_filters_are_a_drawer(visit: Visit) -> None:
    page = visit.open("/?q=red")
    expect_first(page, "red")
    expect(page.locator("#rail")).to_be_hidden()
    assert_no_sideways_scroll(page)
    page.get_by_role("button", name="Filters").click()
    drawer = page.get_by_role("dialog", name="Filters")
    expect(drawer).to_be_visible()
    assert_no_sideways_scroll(page)
    drawer.get_by_role("checkbox", name="Toys").check()
    drawer.get_by_role("button", name="Show 12 products").click()
    expect(drawer).to_be_hidden()
    expect(page.get_by_role("button", name="Filters (1)")).to_be_focused()
    page.get_by_role("button", name="Filters (1)").click()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    page.locator("#grid .card-open").first.click()
    expect(page.locator("#product-alike .card")).to_have_count(8)
    assert_no_sideways_scroll(page)
    page.go_back()
    expect(page.locator("#product")).to_be_hidden()
    page.get_by_role("link", name="Lookalike").click()
    expect(page.locator("#hero")).to_be_visible()
    assert_no_sideways_scroll(page)


def assert_no_sideways_scroll(page: Page) -> None:
    wide, seen = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= seen


def test_nothing_jumps_while_the_page_fills(visit: Visit) -> None:
    visit.page.add_init_script(
        """window.shifted = 0;
        new PerformanceObserver((list) => {
            for (const each of list.getEntries()) if (!each.hadRecentInput) window.shifted += each.value;
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    for path in ("/", "/?q=red&category=Kitchen", "/?like=p%2F05"):
        page = visit.open(path)
        expect(page.locator("#grid .frame.here").nth(3)).to_be_visible()
        expect(facet(page, "Category").locator("label").first).to_be_visible()
        assert page.evaluate("window.shifted") < 0.05


STATES: dict[str, tuple[str, Callable[[Page], None]]] = {
    "start": ("/", lambda page: None),
    "results": ("/?q=red&category=Toys&filter=recycled:true&price_min=12", lambda page: None),
    "mixed": ("/?q=red&like=p%2F05&unlike=p%2F02&order=-price&max_per_category=5", lambda page: None),
    "pictures": ("/", lambda page: page.locator("#choose").set_input_files([payload(drawn("red", "mug"))] * 3)),
    "product": ("/?q=red&product=p%2F00", lambda page: expect(page.locator("#product-alike .card")).to_have_count(8)),
    "crop": ("/", lambda page: crop_dialog(page)),
    "filters": ("/?q=red", lambda page: open_filters(page)),
    "nothing": ("/?q=red&price_min=9000", lambda page: expect(page.locator("#message")).to_be_visible()),
}


def crop_dialog(page: Page) -> None:
    page.locator("#choose").set_input_files(payload(drawn("red", "mug")))
    page.get_by_role("button", name="Choose a part").click()
    expect(page.get_by_role("dialog", name="Which part?")).to_be_visible()


def open_filters(page: Page) -> None:
    if page.get_by_role("button", name="Filters").is_visible():
        page.get_by_role("button", name="Filters").click()


@pytest.mark.axe
@pytest.mark.parametrize("visit", [PHONE, {"width": 1200, "height": 800}], indirect=True, ids=["phone", "desk"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious(visit: Visit, state: str) -> None:
    path, reach = STATES[state]
    page = visit.open(path)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    expect(facet(page, "Category")).to_be_attached()  # open or not, and with no values where nothing is found
    reach(page)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    page.evaluate(AXE.read_text())
    for light in ("light", "dark"):
        page.emulate_media(color_scheme=light)
        # Colours fade from one scheme to the other.
        page.evaluate(
            "() => Promise.allSettled(document.getAnimations().filter((each) => each instanceof CSSTransition)"
            ".map((each) => each.finished))"
        )
        found = page.evaluate("async () => (await axe.run()).violations")
        serious = [
            f"{light}: {each['id']}: {node['html'][:200]} ({node['failureSummary']})"
            for each in found
            for node in each["nodes"]
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == []
    page.emulate_media(color_scheme="light")


def test_page_files_need_nothing_from_outside() -> None:
    files = {path.name: path.read_text() for path in PAGE.iterdir() if path.is_file()}
    for name, text in files.items():
        outside = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)) - {"http://www.w3.org"}
        assert not outside, f"{name} names {outside}"
    # The content policy forbids scripts and styles inside the document.
    assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=", files["index.html"])
    used = set(re.findall(r'"/page/([\w.]+)"', files["index.html"]))
    used |= {name for text in files.values() for name in re.findall(r'from "\./([\w.]+)"', text)}
    assert used == files.keys() - {"index.html"}

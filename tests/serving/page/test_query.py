"""The page's queries: text, result pages, order, and pictures."""

from __future__ import annotations

import re

import pytest
from PIL import Image
from playwright.sync_api import Locator, Route, expect

from tests.serving.page.browser import (
    BROWSER_MARKS,
    PAGE_SIZE,
    Visit,
    dispatch_picture,
    expect_first,
    payload,
    problem_response,
    scroll_down,
    submit_text,
    titles,
)
from tests.serving.page.shop import PRODUCTS, draw_product

pytestmark = BROWSER_MARKS


def test_start_page_shows_products_and_example_queries(visit: Visit) -> None:
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    expect(page.locator("#hero")).to_be_visible()
    expect(page.locator("#results-count")).to_contain_text(f"{PRODUCTS} products")
    expect(page.locator("#release")).to_contain_text("Release 2")
    examples = page.locator(".example")
    expect(examples).to_have_count(3)  # one per kind of product
    text = examples.first.inner_text()
    examples.first.click()
    expect(page.locator("#results-heading")).to_have_text(f"Results for “{text}”")
    expect(page.locator("#query-text")).to_have_value(text)
    expect(page.locator("#hero")).to_be_hidden()
    expect_first(page, text.split()[0])


def test_text_query_shows_matching_products_first(visit: Visit) -> None:
    page = visit.open()
    submit_text(page, "something red")
    expect_first(page, "red", 9)
    expect(titles(page).nth(9)).not_to_contain_text("Red")
    expect(page).to_have_url(f"{visit.address}/?q=something+red")
    bars = page.locator("#grid .similarity")
    expect(bars.first).to_have_attribute("aria-label", re.compile(r"^Similarity 0\.\d{3}$"))
    widths = [float(box["width"]) for box in map(Locator.bounding_box, bars.locator("i").all()) if box]
    assert widths[0] > 2 * widths[-1]


def test_scrolling_loads_the_next_page_and_keeps_the_focus(visit: Visit) -> None:
    page = visit.open("/?q=green")
    expect(titles(page)).to_have_count(PAGE_SIZE)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#load-more")).to_be_visible()  # the end of the list is far below
    page.locator("#query-text").focus()
    scroll_down(page)
    expect(titles(page)).to_have_count(PRODUCTS)
    expect(page.locator("#query-text")).to_be_focused()
    expect(page.locator("#load-more")).to_be_hidden()
    # The first search loads the catalog.
    assert [("cursor=" in url) for url in visit.text_searches()] == [False, False, True]


def test_next_page_that_failed_can_be_loaded_with_the_button(visit: Visit) -> None:
    page = visit.open("/?q=green")
    page.route("**/v1/search/text?*cursor=*", lambda route: route.abort(), times=1)
    expect(titles(page)).to_have_count(PAGE_SIZE)
    scroll_down(page)
    expect(page.locator("#notice")).to_contain_text("cannot be reached")
    page.get_by_role("button", name="Show more").click()
    expect(titles(page)).to_have_count(PRODUCTS)
    visit.expect_faults("ERR_FAILED")


def test_expired_cursor_restarts_the_search(visit: Visit) -> None:
    page = visit.open("/?q=green")
    expired = problem_response(410, "cursor: version 1 is not served any more: search again from the first page")
    page.route("**/v1/search/text?*cursor=*", expired, times=1)
    expect(titles(page)).to_have_count(PAGE_SIZE)
    scroll_down(page)
    expect(page.locator("#notice")).to_contain_text("The catalog has changed")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    assert len([url for url in visit.text_searches() if "q=green" in url and "cursor" not in url]) == 2
    visit.expect_faults("410")


@pytest.mark.parametrize("visit", [{"width": 1200, "height": 400}], indirect=True)
def test_show_more_button_loads_the_last_page_and_focuses_its_first_product(visit: Visit) -> None:
    page = visit.open("/?q=green")
    expect(titles(page)).to_have_count(PAGE_SIZE)
    page.get_by_role("button", name="Show more").press("Enter")  # the keyboard does not scroll
    expect(titles(page)).to_have_count(PRODUCTS)
    expect(page.locator("#grid .card-open").nth(PAGE_SIZE)).to_be_focused()
    expect(page.locator("#load-more")).to_be_hidden()
    ids = page.locator("#grid .card").evaluate_all("cards => cards.map((card) => card.dataset.id)")
    assert len(set(ids)) == PRODUCTS


def test_show_more_button_joins_a_request_in_flight(visit: Visit) -> None:
    page = visit.open("/?q=green")
    held: list[Route] = []
    page.route("**/v1/search/text?*cursor=*", lambda route: held.append(route))
    expect(titles(page)).to_have_count(PAGE_SIZE)
    with page.expect_request("**/v1/search/text?*cursor=*"):
        scroll_down(page)
    page.get_by_role("button", name="Show more").press("Enter")
    expect(page.locator("#load-more")).to_be_disabled()
    held[0].continue_()
    expect(titles(page)).to_have_count(PRODUCTS)
    expect(page.locator("#grid .card-open").nth(PAGE_SIZE)).to_be_focused()
    assert len(held) == 1


def test_sort_and_variety_become_request_parameters(visit: Visit) -> None:
    page = visit.open("/?q=blue")
    expect_first(page, "blue")
    page.locator("#sort").select_option("Most similar")
    expect(page).to_have_url(re.compile("order=similar"))
    expect(page.locator("#results-count")).to_contain_text("most similar first")
    page.get_by_role("switch", name="Variety").press("Space")
    expect(page).to_have_url(re.compile("max_per_category=5"))
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    searches = [url for url in visit.text_searches() if "q=blue" in url]
    assert ["rerank=false" in url for url in searches] == [False, True, True]
    assert ["max_per_category=0" in url for url in searches] == [True, True, False]
    page.locator("#sort").select_option("Price: high to low")
    expect(page).to_have_url(re.compile("order=-price"))
    expect(page.locator("#results-count")).to_contain_text("best matches by price")
    expect(titles(page).first).to_contain_text(f"no. {PRODUCTS - 1}")
    page.reload()
    expect(titles(page).first).to_contain_text(f"no. {PRODUCTS - 1}")
    expect(page.locator("#sort")).to_have_value("-price")


def test_new_query_aborts_the_running_one(visit: Visit) -> None:
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    held: list[Route] = []
    page.route("**/v1/search/text?*q=red*", lambda route: held.append(route))
    submit_text(page, "red")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    submit_text(page, "blue")
    expect_first(page, "blue")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    assert len(held) == 1
    assert [url for url in visit.aborted if "q=red" in url]


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_dropped_and_chosen_pictures_become_the_query(visit: Visit) -> None:
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    dispatch_picture(page, "dragover", draw_product("blue", "mug"))
    expect(page.locator("#drop-overlay")).to_be_visible()
    dispatch_picture(page, "drop", draw_product("blue", "mug"))
    expect(page.locator("#drop-overlay")).to_be_hidden()
    expect(page.locator("#results-heading")).to_have_text("Like your picture")
    expect_first(page, "blue")
    # Add a second picture, and remove the first.
    page.locator("#file-input").set_input_files(payload(draw_product("yellow", "mug")))
    expect(page.locator("#results-heading")).to_have_text("Like your 2 pictures")
    expect(page.locator(".tray-item")).to_have_count(2)
    page.get_by_role("button", name="Remove picture 1").click()
    expect_first(page, "yellow")
    page.get_by_role("button", name="Remove picture 1").click()
    expect(page.locator("#hero")).to_be_visible()
    expect(page.locator("#query-text")).to_be_focused()


def test_balance_slider_weighs_pictures_against_text(visit: Visit) -> None:
    page = visit.open()
    dispatch_picture(page, "paste", draw_product("green", "ball"))
    expect_first(page, "green")
    page.locator("#query-text").fill("yellow")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#results-heading")).to_have_text("“yellow”, like your picture")
    expect(page.locator(".tray-item")).to_have_count(1)
    balance = page.get_by_role("slider", name="Words or looks")
    expect(balance).to_have_attribute("aria-valuetext", "70% pictures, 30% words")
    for _ in range(2):
        balance.press("ArrowRight")
    expect(page).to_have_url(re.compile("balance=90"))
    expect_first(page, "green")
    expect(balance).to_be_focused()
    balance.press("Home")
    expect(balance).to_have_attribute("aria-valuetext", "0% pictures, 100% words")
    expect_first(page, "yellow", 9)
    # Without the text, only the picture counts; the back button restores both.
    submit_text(page, "")
    expect(page.locator("#results-heading")).to_have_text("Like your picture")
    expect(balance).to_be_hidden()
    expect_first(page, "green")
    page.go_back()
    expect(page.locator("#query-text")).to_have_value("yellow")
    expect_first(page, "yellow", 9)
    page.reload()  # pictures are lost when the page is unloaded
    expect(page.locator("#notice")).to_contain_text("add them again")
    expect(page.locator("#results-heading")).to_have_text("Results for “yellow”")


def test_invalid_and_excess_pictures_are_reported(visit: Visit) -> None:
    page = visit.open()
    page.locator("#file-input").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"words"})
    expect(page.locator("#notice")).to_contain_text("not a picture")
    nine = [payload(draw_product("red", "ball"), f"{number}.jpg") for number in range(9)]
    page.locator("#file-input").set_input_files(nine)
    expect(page.locator("#notice")).to_contain_text("At most 8")
    expect(page.locator(".tray-item")).to_have_count(8)


def test_crop_dialog_restricts_the_query_to_a_part_of_the_picture(visit: Visit) -> None:
    picture = Image.new("RGB", (480, 200))
    picture.paste(draw_product("red", "mug"), (0, 0))
    picture.paste(draw_product("blue", "mug"), (240, 0))
    page = visit.open()
    page.locator("#file-input").set_input_files(payload(picture))
    page.get_by_role("button", name="Choose a part").click()
    expect(page.locator("#crop-picture")).to_have_js_property("complete", True)
    stage = page.locator("#crop-stage").bounding_box()
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
    # Playwright cannot read the body of a request that uploads files.
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
    expect(page.locator("#results-heading")).to_have_text("Like that part of your picture")
    expect_first(page, "blue")
    crop = [float(edge) for edge in page.evaluate("window.crop").split(",")]
    assert crop == pytest.approx([0.52, 0.1, 0.91, 0.9], abs=0.01)
    # Escape leaves the crop unchanged.
    page.get_by_role("button", name="Change the part").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Change the part")).to_be_focused()

"""Products on the page: refining a query by them, the product dialog, and addresses."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import expect

from tests.serving.page.browser import BROWSER_MARKS, PAGE_SIZE, Visit, expect_first, submit_text, titles
from tests.serving.page.shop import PRODUCTS

pytestmark = BROWSER_MARKS


def test_more_like_this_searches_by_the_product(visit: Visit) -> None:
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
    page.get_by_role("button", name=f"Remove: More like {name}").click()
    expect(page.locator("#hero")).to_be_visible()


def test_liked_and_unliked_results_refine_the_query(visit: Visit) -> None:
    page = visit.open("/?q=red")
    expect_first(page, "red")
    card = page.locator("#grid .card").first
    name = card.locator("h3").inner_text()
    card.get_by_role("link", name="Less like this").click()
    expect(page.locator("#tray .unlike")).to_contain_text(name)
    expect(page.locator("#query-text")).to_have_value("red")
    expect(titles(page).filter(has_text=re.compile(f"^{re.escape(name)}$"))).to_have_count(0)
    expect(page.locator("#results-count")).to_contain_text(f"{PRODUCTS - 1} products")
    # A liked product counts beside the text, and can outweigh it.
    blue = page.locator("#grid .card").filter(has_text="Blue shirt").first
    blue.get_by_role("link", name="More like this").click()
    expect(page.locator("#results-heading")).to_have_text("“red”, like this one")
    balance = page.get_by_role("slider", name="Words or looks")
    balance.press("End")
    expect(balance).to_have_attribute("aria-valuetext", "100% products, 0% words")
    expect_first(page, "blue")
    # A new text starts over, without the example products.
    submit_text(page, "green")
    expect_first(page, "green")
    expect(page.locator("#tray")).to_be_hidden()


def test_less_like_this_refines_browsing_without_text(visit: Visit) -> None:
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    red = page.locator("#grid .card").filter(has_text="Red").first
    red.get_by_role("link", name="Less like this").click()
    expect(page.locator("#results-heading")).to_have_text("Browsing")
    expect(page.locator("#results-count")).to_contain_text(f"{PRODUCTS - 1} products")
    expect(titles(page).first).not_to_contain_text("Red")


def test_opening_a_result_records_a_click(visit: Visit) -> None:
    clicks: list[dict[str, Any]] = []
    visit.page.on(
        "request", lambda request: clicks.append(request.post_data_json) if "/events/click" in request.url else None
    )
    page = visit.open("/?q=red&category=Toys")
    card = page.locator("#grid .card").nth(4)
    with page.expect_response("**/v1/events/click") as recorded:
        card.locator(".card-open").click()
    assert recorded.value.status == 204
    assert clicks == [
        {"search_id": card.get_attribute("data-search"), "product_id": card.get_attribute("data-id"), "position": 4}
    ]
    expect(page.locator("#similar-products .card").first).to_be_visible()
    page.locator("#similar-products .card-open").first.click()  # not a result of that search
    expect(page.get_by_role("dialog")).to_be_visible()
    assert len(clicks) == 1


def test_product_dialog_opens_over_the_results_and_closes_in_one_step(visit: Visit) -> None:
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
    # Open a similar product, go back and forward, and close both with one Escape.
    similar = dialog.locator("#similar-products .card-open")
    expect(similar).to_have_count(8)
    name = similar.first.locator("h3").inner_text()
    similar.first.click()
    expect(page.get_by_role("dialog", name=name)).to_be_visible()
    page.go_back()
    expect(dialog).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("dialog", name=name)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#product")).to_be_hidden()
    expect(page).to_have_url(f"{visit.address}/?q=red&category=Clothing")
    expect(opener).to_be_focused()


def test_address_restores_query_filters_and_product(visit: Visit) -> None:
    page = visit.open("/?q=green&filter=kind:mug&price_max=40&product=p%2F05")
    expect(page.get_by_role("dialog", name="Green mug no. 5")).to_be_visible()
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("#product")).to_be_hidden()
    expect(page.locator("#query-text")).to_have_value("green")
    expect(page.locator(".chip")).to_have_count(2)
    expect_first(page, "green")
    submit_text(page, "blue")
    expect_first(page, "blue")
    searches = len(visit.text_searches())
    page.go_back()
    expect_first(page, "green")
    expect(page.locator("#query-text")).to_have_value("green")
    # Results are cached: only the facets are counted again.
    assert len(visit.text_searches()) == searches
    page.go_forward()
    expect_first(page, "blue")
    page.reload()
    expect_first(page, "blue")
    expect(page.locator(".chip")).to_have_count(2)


def test_unknown_product_shows_an_alert(visit: Visit) -> None:
    page = visit.open("/?q=red&product=nowhere")
    expect(page.locator("#product").get_by_role("alert")).to_contain_text("no product 'nowhere'")
    page.keyboard.press("Escape")
    expect_first(page, "red")
    visit.expect_faults("404")

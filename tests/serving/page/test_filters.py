"""The page's filter rail: facets, price range, and chips."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.serving.page.browser import BROWSER_MARKS, Visit, expect_first, facet
from tests.serving.page.shop import PRODUCTS

pytestmark = BROWSER_MARKS


def test_filters_narrow_the_results_and_chips_remove_them(visit: Visit) -> None:
    page = visit.open("/?q=red")
    category, chips, count = facet(page, "Category"), page.locator(".chip"), page.locator("#results-count")
    kitchen = category.get_by_role("checkbox", name="Kitchen")
    kitchen.check()
    expect(count).to_contain_text("12 products")
    expect(kitchen).to_be_focused()
    expect(chips).to_have_count(1)
    expect_first(page, "red", 3)
    # Values of one attribute are alternatives, so the others keep their counts.
    expect(category.locator("label", has_text="Toys").locator(".value-count")).to_have_text("12")
    expect(facet(page, "Colour").locator("label", has_text="red").locator(".value-count")).to_have_text("3")
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


def test_attributes_with_few_values_become_facets(visit: Visit) -> None:
    page = visit.open()
    expect(page.locator("details.facet summary")).to_have_text(["Category", "Colour", "Kind", "Recycled", "Brand"])
    facet(page, "Recycled").get_by_role("checkbox", name="yes").check()
    expect(page.locator("#results-count")).to_contain_text("12 products")
    expect(page.locator("#results-heading")).to_have_text("Browsing")
    facet(page, "Colour").get_by_role("checkbox", name="green").check()
    expect(page.locator("#results-count")).to_contain_text("3 products")
    expect(page).to_have_url(re.compile("filter=recycled%3Atrue&filter=colour%3Agreen"))


def test_empty_result_offers_to_clear_the_filters(visit: Visit) -> None:
    page = visit.open("/?q=red&price_min=9000")
    expect(page.locator("#message")).to_contain_text("Nothing matches these filters")
    expect(page.locator("#results-count")).to_contain_text("0 products")
    page.get_by_role("button", name="Clear all filters").click()
    expect_first(page, "red")


def test_inverted_price_range_is_rejected_by_the_form(visit: Visit) -> None:
    page = visit.open("/?q=red")
    expect_first(page, "red")
    page.get_by_label("Lowest price").fill("40")
    page.get_by_label("Lowest price").press("Enter")
    expect(page).to_have_url(re.compile("price_min=40"))
    page.get_by_label("Highest price").fill("20")
    page.get_by_label("Highest price").press("Enter")
    assert page.get_by_label("Highest price").evaluate("input => input.validationMessage")
    assert "price_max" not in page.url

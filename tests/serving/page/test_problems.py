"""The page when the server refuses a query, is not ready, or cannot be reached."""

from __future__ import annotations

from playwright.sync_api import Route, expect

from tests.serving.page.browser import (
    BROWSER_MARKS,
    PAGE_SIZE,
    Visit,
    expect_first,
    facet,
    problem_response,
    submit_text,
    titles,
)

pytestmark = BROWSER_MARKS


def test_rejected_query_shows_the_servers_message(visit: Visit) -> None:
    page = visit.open("/?q=red&price_min=40&price_max=20")
    expect(page.get_by_role("alert")).to_contain_text("40.0 is above price_max 20.0")
    page.get_by_role("alert").get_by_role("button", name="Clear all filters").click()
    expect_first(page, "red")
    assert visit.faults
    visit.expect_faults("422")


def test_page_retries_until_a_release_is_loaded(visit: Visit) -> None:
    refused: list[str] = []

    def refuse(route: Route) -> None:
        if len(refused) >= 3:
            return route.fallback()
        refused.append(route.request.url)
        return problem_response(503, "no release is loaded yet", **{"Retry-After": "1"})(route)

    visit.page.route("**/v1/**", refuse)
    page = visit.open("/?q=red")
    expect(page.locator("#message")).to_contain_text("retries automatically")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect_first(page, "red")
    expect(page.locator("#message")).to_be_hidden()
    expect(facet(page, "Category").get_by_role("checkbox")).to_have_count(3)
    visit.expect_faults("503")


def test_failed_query_can_be_retried(visit: Visit) -> None:
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    page.route("**/v1/search/text?*q=red*", lambda route: route.abort(), times=1)
    submit_text(page, "red")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.get_by_role("button", name="Try again").click()
    expect_first(page, "red")
    visit.expect_faults("ERR_FAILED")


def test_encoder_without_text_disables_the_text_field(visit: Visit) -> None:
    def without_text(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json=response.json() | {"supports_text": False})

    visit.page.route("**/v1/release", without_text)
    page = visit.open()
    expect(titles(page)).to_have_count(PAGE_SIZE)
    expect(page.locator("#query-text")).to_be_disabled()
    expect(page.locator("#query-text")).to_have_attribute("placeholder", "This catalog is searched by picture")
    assert not [url for url in visit.requests if url.startswith("/v1/search/text")]
    page.locator(".example").first.click()
    expect(page.locator("#results-heading")).to_contain_text("More like")

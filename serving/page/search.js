// Runs queries: fetches results page by page, shows them, and shows what to do when that fails.

import * as api from "./model/api.js";
import { getCatalog } from "./model/catalog.js";
import { updateFacetCounts } from "./model/facets.js";
import { isFiltered, parseQuery, resultKey, withoutFilters } from "./model/query.js";
import { cachedList, fetchNextPage, newList } from "./model/result-list.js";
import { byId } from "./views/dom.js";
import { formatProductCount } from "./views/format.js";
import { renderBusy, renderCount, renderMessage, renderResults } from "./views/results.js";

const MAX_PAGES_BY_SCROLLING = 10; // then a button loads the next page, so that the footer can be reached
const PREFETCH_MARGIN = "600px"; // distance from the end of the list at which the next page is fetched

let navigate = () => {};
let notify = () => {};
let onFacetCounts = () => {};

let list = null; // the results on the page; see model/result-list.js
let running = new AbortController(); // for the current query
let nextPage = null; // the request for the list's next page, while it is running: { fromButton }

/**
 * Connect the search.
 *
 * @param {object} callbacks
 * @param {(query: object) => void} callbacks.navigate called with the query of a button that was pressed.
 * @param {(text: string) => void} callbacks.notify called with a notice for the shopper.
 * @param {() => void} callbacks.onFacetCounts called when the counts of the facets have changed.
 */
export function wireSearch(callbacks) {
  ({ navigate, notify, onFacetCounts } = callbacks);
  byId("load-more").addEventListener("click", () => showNextPage({ fromButton: true }));
}

/** Show the results of a query, unless they are on the page; with `useCache` as they were when last shown. */
export function showResults(query, { useCache = false } = {}) {
  const key = resultKey(query);
  if (list?.key !== key) run(query, useCache ? cachedList(key) : undefined);
}

async function run(query, cached) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  list = cached ?? newList(query);
  if (!cached) {
    byId("load-more").hidden = true;
    renderBusy(true);
    try {
      await retryWhileBusy(() => fetchNextPage(list, signal), signal);
    } catch (error) {
      if (signal.aborted) return; // another query is running
      renderBusy(false);
      return renderProblem(error, query);
    }
  }
  renderBusy(false);
  if (list.results.length) renderResults(list.results, query);
  else renderNoResults(query);
  renderListState();
  refreshFacetCounts(query, signal);
}

/** Retry until it succeeds while the server has no release loaded yet, or is overloaded. */
async function retryWhileBusy(attempt, signal) {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!error.retryAfter || signal.aborted) throw error;
      const reason = "The server is loading its catalog or is busy.";
      renderMessage("One moment", `${reason} This page retries automatically.`, [], { role: "status" });
      await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
      if (signal.aborted) throw error;
    }
  }
}

/** Append the list's next page. From the button, focus its first product; from scrolling, leave the focus alone. */
async function showNextPage({ fromButton }) {
  byId("load-more").disabled = fromButton;
  if (nextPage) {
    nextPage.fromButton ||= fromButton; // it is being fetched already
    return;
  }
  const { signal } = running;
  const target = list;
  const fetching = { fromButton };
  nextPage = fetching;
  try {
    const results = await fetchNextPage(target, signal);
    const cards = renderResults(results, target.query, { append: true });
    renderListState();
    if (fetching.fromButton) cards[0]?.querySelector("a").focus({ preventScroll: true });
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 410) {
      run(target.query);
      notify("The catalog has changed since this search: these are the current results.");
    } else notify(error.message);
  } finally {
    nextPage = null;
    byId("load-more").disabled = false;
  }
}

const endObserver = new IntersectionObserver(
  ([entry]) => {
    const available = entry.isIntersecting && list && !list.complete && list.pages && !nextPage && !byId("load-more").hidden;
    if (available && list.pages % MAX_PAGES_BY_SCROLLING) showNextPage({ fromButton: false });
  },
  { rootMargin: PREFETCH_MARGIN },
);

async function refreshFacetCounts(query, signal) {
  try {
    const { release, facetNames } = await getCatalog();
    if (facetNames.length) {
      updateFacetCounts(await api.fetchFacetCounts(query, facetNames, release.supports_text, signal));
    }
  } catch {
    return; // the results are shown, and outdated counts do little harm
  }
  if (!signal.aborted) onFacetCounts();
}

function renderListState() {
  renderCount(list);
  byId("load-more").hidden = list.complete;
  byId("drawer-done").textContent = `Show ${formatProductCount(list.total)}`;
  // The observer reports changes only, and the end of the longer list may be as near as before: observe it anew.
  endObserver.disconnect();
  endObserver.observe(byId("load-more").parentElement);
}

function renderNoResults(query) {
  renderMessage(
    "Nothing matches these filters",
    isFiltered(query) ? "Remove one, or clear them all." : "The catalog being served is empty.",
    isFiltered(query) ? [clearFiltersAction(query)] : [],
  );
}

function renderProblem(error, query) {
  const { key } = list;
  list = null;
  byId("results-count").textContent = "";
  const unreachable = error.status === 0;
  const serverError = error.status >= 500;
  const actions = unreachable || serverError ? [["Try again", () => run(query)]] : [];
  if (isFiltered(query)) actions.push(clearFiltersAction(query));
  if (key !== "/") actions.push(["Start over", () => navigate(parseQuery(""))]);
  const title = unreachable ? "No connection" : serverError ? "Something went wrong" : "That did not work";
  renderMessage(title, error.message, actions, { role: "alert" });
}

const clearFiltersAction = (query) => ["Clear all filters", () => navigate(withoutFilters(query))];

// The page's entry point. The address holds the query, and everything on the page follows from it.

import * as api from "./model/api.js";
import { getCatalog, onCatalogLoad, peekCatalog } from "./model/catalog.js";
import { isFiltered, modalityOf, parseQuery, resultKey, toUrl, withProduct, withText } from "./model/query.js";
import { knownProducts, rememberProducts } from "./model/result-list.js";
import { showResults, wireSearch } from "./search.js";
import { byId } from "./views/dom.js";
import { renderFilters, wireFilters } from "./views/filters.js";
import { formatNumber, formatProductCount } from "./views/format.js";
import { renderHeading } from "./views/heading.js";
import { renderHero } from "./views/hero.js";
import { wirePictureInput } from "./views/picture-input.js";
import { closeProductDialog, openProductDialog, wireProductDialog } from "./views/product.js";
import { renderTray } from "./views/tray.js";

let current = parseQuery(location.search);
let facetNames = []; // attributes in the filter rail

// ── navigation ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Make a query the current one, with a new history entry. */
function navigate(query) {
  // Number of products opened over these results, so that closing the dialog goes back in one step; null if the first of
  // them was not opened from this page.
  const depthBefore = current.productId ? (history.state?.depth ?? null) : 0;
  const depth = query.productId ? (depthBefore === null ? null : depthBefore + 1) : 0;
  const url = toUrl(query);
  if (url !== toUrl(current)) history.pushState({ depth }, "", url);
  notify("");
  if (resultKey(query) !== resultKey(current)) window.scrollTo(0, 0);
  show(query);
}

function notify(text) {
  byId("notice").textContent = text;
}

/** Show a query; with `useCache`, results as they were when last shown. */
function show(query, { useCache = false } = {}) {
  current = query;
  byId("query-text").value = query.text;
  if (query.albumExpired) {
    history.replaceState(history.state, "", toUrl(query));
    notify("Pictures are not kept in the address: add them again to search with them.");
  }
  renderControls();
  showResults(query, { useCache });
  if (query.productId) openProductDialog(query, knownProducts.get(query.productId));
  else closeProductDialog();
}

/** Remove the product from the address after its dialog was closed. */
function leaveProduct() {
  if (!current.productId) return; // the address changed first
  const depth = history.state?.depth;
  if (depth) history.go(-depth);
  else {
    history.replaceState({ depth: 0 }, "", toUrl(withProduct(current, "")));
    show(withProduct(current, ""));
  }
}

// ── controls ────────────────────────────────────────────────────────────────────────────────────────────────────────

async function renderControls() {
  const query = current;
  const browsing = modalityOf(query) === "browse";
  renderFilters(query, facetNames, navigate);
  renderTray(query, knownProducts, navigate);
  renderHeading(query, knownProducts);
  fetchMissingProducts([...query.like, ...query.unlike], query);
  byId("sort").querySelector("[value=similar]").hidden = browsing;
  byId("sort").value = query.order;
  byId("variety").checked = query.variety;
  byId("variety-label").hidden = browsing;
  const startPage = browsing && !isFiltered(query) && !query.unlike.length;
  renderHero(startPage, query, null, true);
  const { release, answer } = (await peekCatalog()) ?? {};
  if (!release || current !== query) return;
  renderHero(startPage, query, answer, release.supports_text);
}

/** Fetch example products that no answer has contained, such as those of a shared link, to show their names and pictures. */
function fetchMissingProducts(ids, query) {
  const missing = ids.filter((id) => !knownProducts.has(id));
  for (const id of missing) {
    api.fetchProduct(id).then((product) => {
      rememberProducts([product]);
      if (current !== query) return;
      renderTray(query, knownProducts, navigate);
      renderHeading(query, knownProducts);
    }, () => {}); // the search itself reports what is wrong
  }
}

function renderCatalog(catalog) {
  const { release, answer } = catalog;
  facetNames = catalog.facetNames;
  rememberProducts(answer.results);
  const counts = `${formatProductCount(release.products)} · ${formatNumber(release.pictures)} pictures`;
  byId("release").textContent = `Release ${release.version} · ${counts}`;
  const input = byId("query-text");
  input.disabled = !release.supports_text;
  input.placeholder = release.supports_text ? "What are you looking for?" : "This catalog is searched by picture";
  input.title = release.supports_text ? "" : "The model behind this catalog understands pictures only.";
  byId("submit-query").disabled = input.disabled;
  for (const option of byId("sort").options) {
    const column = option.dataset.column;
    option.hidden = Boolean(column) && !(column in release.columns);
  }
  renderControls();
}

// ── wiring ──────────────────────────────────────────────────────────────────────────────────────────────────────────

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = byId("query-text");
  const text = input.value.trim();
  if (!text && modalityOf(withText(current, "")) === "browse") return input.focus();
  if (window.matchMedia("(hover: none)").matches) input.blur(); // an on-screen keyboard would cover the results
  navigate(withText(current, text));
});
byId("sort").addEventListener("change", (event) => navigate({ ...current, order: event.target.value }));
byId("variety").addEventListener("change", (event) => navigate({ ...current, variety: event.target.checked }));

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-navigate]");
  if (!link || event.button !== 0) return;
  const { id, search, position } = link.closest(".card")?.dataset ?? {};
  if (search && link.matches(".card-open")) {
    api.recordClick({ search_id: search, product_id: id, position: Number(position) });
  }
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // the browser opens a new tab or window
  event.preventDefault();
  navigate(parseQuery(new URL(link.href).search));
});
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
window.addEventListener("popstate", () => {
  notify("");
  show(parseQuery(location.search), { useCache: true });
});

wireSearch({ navigate, notify, onFacetCounts: () => renderFilters(current, facetNames, navigate) });
wirePictureInput(() => current, navigate, notify);
wireFilters(() => current, navigate);
wireProductDialog(leaveProduct);
onCatalogLoad(renderCatalog);
show(current);
byId("main").hidden = false; // hidden until now, so that nothing moves visibly into its place
getCatalog().catch(() => {}); // in parallel with the first query, which reports any problem

// The page: the address says what is searched for, and everything on the page follows from it.

import * as api from "./api.js";
import { byId, count, nameOf, products } from "./dom.js";
import { countable, renderFilters, setCounts, wireFilters, worthOffering } from "./filters.js";
import { renderTray, takePictures } from "./pictures.js";
import { closeProduct, openProduct, wireProduct } from "./product.js";
import { renderBusy, renderCount, renderMessage, renderResults } from "./results.js";
import { albumOf, byWords, fromQuery, isFiltered, keyOf, kindOf, toUrl, unfiltered, withProduct } from "./search.js";
import { renderHero } from "./start.js";

const KEPT_LISTS = 20; // result lists kept for the back button
const FOUND_PRODUCTS_KEPT = 2000;

let current = fromQuery(location.search);
let list = null; // what is on the page: { key, search, results, asked, total, milliseconds }
let running = new AbortController(); // the search under way
let catalog = null; // promise of { release, names, start }
let offered = []; // attributes in the rail

const lists = new Map(); // key → list
const known = new Map(); // product id → product, as any answer told it

// ── going from one search to another ────────────────────────────────────────────────────────────────────────────────

/** Make a search the page's, as a new entry of its history. */
function ask(search) {
  // How many products were opened over these results, for leaving them in one step; null: that began elsewhere.
  const before = current.product ? (history.state?.depth ?? null) : 0;
  const depth = search.product ? (before === null ? null : before + 1) : 0;
  const url = toUrl(search);
  if (url !== toUrl(current)) history.pushState({ depth }, "", url);
  byId("notice").textContent = "";
  if (keyOf(search) !== keyOf(current)) window.scrollTo(0, 0);
  show(search);
}

function say(text) {
  byId("notice").textContent = text;
}

function show(search, { back = false } = {}) {
  current = search;
  byId("words").value = search.words;
  if (search.picturesLost) {
    history.replaceState(history.state, "", toUrl(search));
    say("Pictures are not kept in the address: add them again to search with them.");
  }
  renderControls();
  const key = keyOf(search);
  if (list?.key !== key) find(search, back ? lists.get(key) : undefined);
  if (search.product) openProduct(search, known.get(search.product));
  else closeProduct();
}

function productClosed() {
  if (!current.product) return; // the address changed first
  const depth = history.state?.depth;
  if (depth) history.go(-depth);
  else {
    history.replaceState({ depth: 0 }, "", toUrl(withProduct(current, "")));
    show(withProduct(current, ""));
  }
}

// ── searching ───────────────────────────────────────────────────────────────────────────────────────────────────────

async function find(search, kept) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const wanted = kept ?? { key: keyOf(search), search, results: [], asked: 0, total: 0, milliseconds: 0 };
  list = wanted;
  if (!kept) {
    byId("more").hidden = true;
    renderBusy(true);
    try {
      await patiently(() => addPage(wanted, signal), signal);
    } catch (error) {
      if (signal.aborted) return; // the next search has the page
      renderBusy(false);
      return renderProblem(error, search);
    }
  }
  renderBusy(false);
  if (wanted.results.length) renderResults(wanted.results, search);
  else renderNothing(search);
  renderList();
  refreshCounts(search, signal);
}

/** Fetch the next products of a list; returns those that are new in it. */
async function addPage(to, signal) {
  const { search, asked: offset } = to;
  const answer = await page(search, offset, signal);
  signal.throwIfAborted(); // a page that was there already is not aborted by itself
  to.asked += api.PAGE_SIZE;
  to.total = answer.total_found;
  to.milliseconds = answer.query_time_ms;
  to.end = answer.results.length < api.PAGE_SIZE || to.asked >= answer.total_found;
  remember(answer.results);
  // A release that was published between two pages may move a product from one to the other.
  const here = new Set(to.results.map((product) => product.product_id));
  const fresh = answer.results.filter((product) => !here.has(product.product_id));
  to.results.push(...fresh);
  lists.delete(to.key);
  lists.set(to.key, to);
  if (lists.size > KEPT_LISTS) lists.delete(lists.keys().next().value);
  noteRelease(answer.release);
  return fresh;
}

async function page(search, offset, signal) {
  if (kindOf(search) !== "browse") return api.results(search, { offset, signal });
  const { release, start } = await getCatalog();
  if (!offset && !isFiltered(search)) return start;
  return api.browse(search, release.supports_text, { offset, signal });
}

/** Try again, as often as it takes, while the server has no release yet. */
async function patiently(attempt, signal) {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!error.retryAfter || signal.aborted) throw error;
      renderMessage("The catalog is on its way", "The server is still loading it. This page tries again by itself.", [], {
        role: "status",
      });
      await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
      if (signal.aborted) throw error;
    }
  }
}

async function showMore() {
  const { signal } = running;
  const button = byId("more");
  button.disabled = true;
  try {
    const fresh = await addPage(list, signal);
    const cards = renderResults(fresh, list.search, { append: true });
    renderList();
    cards[0]?.querySelector("a").focus({ preventScroll: true });
  } catch (error) {
    if (signal.aborted) return;
    button.hidden = error.status === 422; // as deep as the server goes
    say(error.message);
  } finally {
    button.disabled = false;
  }
}

function remember(found) {
  for (const product of found) known.set(product.product_id, product);
  for (const id of known.keys()) {
    if (known.size <= FOUND_PRODUCTS_KEPT) break;
    known.delete(id);
  }
}

// ── the catalog ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** What is served, which attributes can be chosen, and products to begin with; asked for once. */
function getCatalog() {
  if (!catalog) {
    catalog = loadCatalog();
    catalog.then(renderControls, () => (catalog = null));
  }
  return catalog;
}

async function loadCatalog() {
  const release = await api.release();
  const start = await api.browse(unfiltered(fromQuery("")), release.supports_text, { facets: countable(release.columns) });
  const found = new Map(Object.entries(start.facets));
  offered = worthOffering(found);
  setCounts(found);
  remember(start.results);
  renderRelease(release);
  return { release, start };
}

/** Another release than the page began with: its attributes may be others too. */
async function noteRelease(version) {
  const { release } = (await catalog?.catch(() => null)) ?? {};
  if (!release || release.version === version) return;
  catalog = null;
  getCatalog(); // if this fails, the page goes on with what it had
}

async function refreshCounts(search, signal) {
  try {
    const { release } = await getCatalog();
    if (offered.length) setCounts(await api.counts(search, offered, release.supports_text, signal));
  } catch {
    return; // the results are there; counts that are a little old do no harm
  }
  if (!signal.aborted) renderFilters(current, offered, ask);
}

// ── what the page shows ─────────────────────────────────────────────────────────────────────────────────────────────

async function renderControls() {
  const kind = kindOf(current);
  const search = current;
  renderFilters(search, offered, ask);
  byId("sort").value = search.bySimilarity ? "similar" : "best";
  byId("variety").checked = search.variety;
  byId("sort-label").hidden = byId("variety-label").hidden = kind === "browse";
  const like = kind === "like" ? known.get(search.like) : undefined;
  renderTray(search, like, ask);
  renderHeading(search, like);
  if (search.like && !like) {
    // A link to what is like a product: its name and picture are not known yet.
    api.product(search.like).then((product) => {
      remember([product]);
      if (current === search) renderControls();
    }, () => {}); // the search itself says what is wrong
  }
  const start = kind === "browse" && !isFiltered(search);
  renderHero(start, search, null, true);
  const { release, start: beginning } = (await catalog?.catch(() => null)) ?? {};
  if (!release || current !== search) return;
  renderHero(start, search, beginning, release.supports_text);
}

function renderHeading(search, like) {
  const { pictures, crop } = albumOf(search);
  const titles = {
    words: `Results for “${search.words}”`,
    pictures: crop ? "Like that part of your picture" : pictures.length > 1 ? `Like your ${pictures.length} pictures` : "Like your picture",
    like: "More like this one", // which one is said above; a name that comes later would move what is below
    browse: isFiltered(search) ? "Browsing" : "A look around",
  };
  const kind = kindOf(search);
  byId("heading").textContent = titles[kind];
  const title = like ? `More like ${nameOf(like)}` : titles[kind];
  document.title = kind === "browse" ? "Lookalike" : `${title} – Lookalike`;
}

function renderList() {
  renderCount(list, kindOf(list.search));
  byId("more").hidden = list.end;
  byId("drawer-done").textContent = `Show ${products(list.total)}`;
}

function renderNothing(search) {
  renderMessage(
    "Nothing matches these filters",
    isFiltered(search) ? "Take one away, or clear them all." : "The catalog being served is empty.",
    isFiltered(search) ? [["Clear all filters", () => ask(unfiltered(search))]] : [],
  );
}

function renderProblem(error, search) {
  const key = list.key;
  list = null;
  byId("count").textContent = "";
  const again = ["Try again", () => find(search)];
  const actions = error.status === 0 || error.status >= 500 ? [again] : [];
  if (isFiltered(search)) actions.push(["Clear all filters", () => ask(unfiltered(search))]);
  if (key !== "/") actions.push(["Start over", () => ask(fromQuery(""))]);
  const title = error.status === 0 ? "No connection" : error.status >= 500 ? "Something went wrong" : "That did not work";
  renderMessage(title, error.message, actions, { role: "alert" });
}

function renderRelease(release) {
  byId("release").textContent = `Release ${release.version} · ${products(release.products)} · ${count(release.pictures)} pictures`;
  const words = byId("words");
  words.disabled = !release.supports_text;
  words.placeholder = release.supports_text ? "What are you looking for?" : "This catalog is searched by picture";
  document.querySelector(".field .go").disabled = words.disabled;
  words.title = release.supports_text ? "" : "The model behind this catalog sees pictures and reads no words.";
}

// ── wiring ──────────────────────────────────────────────────────────────────────────────────────────────────────────

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = byId("words").value.trim();
  if (!words) return byId("words").focus();
  if (window.matchMedia("(hover: none)").matches) byId("words").blur(); // the keyboard would cover the results
  const hadPictures = current.pictures;
  ask(byWords(current, words));
  if (hadPictures) say("Words and pictures cannot be combined yet: this is a search by words alone. Go back for the pictures.");
});
byId("sort").addEventListener("change", (event) => ask({ ...current, bySimilarity: event.target.value === "similar" }));
byId("variety").addEventListener("change", (event) => ask({ ...current, variety: event.target.checked }));
byId("more").addEventListener("click", showMore);

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-page]");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plain) return; // a new tab or window gets the address
  event.preventDefault();
  ask(fromQuery(new URL(link.href).search));
});
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
window.addEventListener("popstate", () => {
  say("");
  show(fromQuery(location.search), { back: true });
});

takePictures(() => current, ask, say);
wireFilters(() => current, ask);
wireProduct(productClosed);
show(current);
byId("main").hidden = false; // it was, so that nothing is seen to move into its place
getCatalog(); // beside the first search, which tells if there is something wrong

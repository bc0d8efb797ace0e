// The page: the address says what is searched for, and everything on the page follows from it.

import * as api from "./api.js";
import { catalogSoFar, getCatalog, whenLoaded } from "./catalog.js";
import { byId, count, nameOf, products } from "./dom.js";
import { renderFilters, setCounts, wireFilters } from "./filters.js";
import { addPage, keptList, known, newList, remember } from "./lists.js";
import { takePictures } from "./pictures.js";
import { closeProduct, openProduct, wireProduct } from "./product.js";
import { renderBusy, renderCount, renderMessage, renderResults } from "./results.js";
import { albumOf, byWords, fromQuery, isFiltered, keyOf, kindOf, toUrl, unfiltered, withProduct } from "./search.js";
import { renderHero } from "./start.js";
import { renderTray } from "./tray.js";

const PAGES_BY_SCROLLING = 10; // then a button, so that the end of the page can be reached
const AHEAD = "600px"; // the next products are fetched when the end of the list is so near

let current = fromQuery(location.search);
let list = null; // what is on the page; see lists.js
let running = new AbortController(); // the search under way
let adding = null; // the list's next page, on its way; `asked` by the button
let offered = []; // attributes in the rail

// ── going from one search to another ────────────────────────────────────────────────────────────────────────────────

/** Make a search the page's, as a new entry of its history. */
function ask(search) {
  // How many products were opened over these results, for leaving them in one step; null: that began elsewhere.
  const before = current.product ? (history.state?.depth ?? null) : 0;
  const depth = search.product ? (before === null ? null : before + 1) : 0;
  const url = toUrl(search);
  if (url !== toUrl(current)) history.pushState({ depth }, "", url);
  say("");
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
  if (list?.key !== key) find(search, back ? keptList(key) : undefined);
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
  list = kept ?? newList(search);
  if (!kept) {
    byId("more").hidden = true;
    renderBusy(true);
    try {
      await patiently(() => addPage(list, signal), signal);
    } catch (error) {
      if (signal.aborted) return; // the next search has the page
      renderBusy(false);
      return renderProblem(error, search);
    }
  }
  renderBusy(false);
  if (list.results.length) renderResults(list.results, search);
  else renderNothing(search);
  renderList();
  refreshCounts(search, signal);
}

/** Try again, as often as it takes, while the server has no release yet or too much to do. */
async function patiently(attempt, signal) {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!error.retryAfter || signal.aborted) throw error;
      const why = "The server is loading its catalog, or has too much to do just now.";
      renderMessage("One moment", `${why} This page tries again by itself.`, [], { role: "status" });
      await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
      if (signal.aborted) throw error;
    }
  }
}

/** Put the list's next products on the page; `asked` by the button, else by scrolling. */
async function showMore({ asked }) {
  byId("more").disabled = asked;
  if (adding) {
    adding.asked ||= asked; // they are on their way
    return;
  }
  const { signal } = running;
  const to = list;
  const turn = { asked };
  adding = turn;
  try {
    const fresh = await addPage(to, signal);
    const cards = renderResults(fresh, to.search, { append: true });
    renderList();
    if (turn.asked) cards[0]?.querySelector("a").focus({ preventScroll: true });
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 410) {
      find(to.search);
      say("The catalog has changed since this search: these are the results of now.");
    } else say(error.message);
  } finally {
    adding = null;
    byId("more").disabled = false;
  }
}

/** The end of the list is near. */
const nearEnd = new IntersectionObserver(
  ([entry]) => {
    const more = entry.isIntersecting && list && !list.end && list.pages && !adding && !byId("more").hidden;
    if (more && list.pages % PAGES_BY_SCROLLING) showMore({ asked: false });
  },
  { rootMargin: AHEAD },
);

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
  const search = current;
  const kind = kindOf(search);
  renderFilters(search, offered, ask);
  renderTray(search, known, ask);
  renderHeading(search);
  learn([...search.like, ...search.unlike], search);
  byId("sort").querySelector("[value=similar]").hidden = kind === "browse";
  byId("sort").value = search.order;
  byId("variety").checked = search.variety;
  byId("variety-label").hidden = kind === "browse";
  const start = kind === "browse" && !isFiltered(search) && !search.unlike.length;
  renderHero(start, search, null, true);
  const { release, answer } = (await catalogSoFar()) ?? {};
  if (!release || current !== search) return;
  renderHero(start, search, answer, release.supports_text);
}

/** Ask for products that a link names and no answer has told of, and show their names and pictures. */
function learn(ids, search) {
  for (const id of ids.filter((each) => !known.has(each))) {
    api.product(id).then((product) => {
      remember([product]);
      if (current !== search) return;
      renderTray(search, known, ask);
      renderHeading(search);
    }, () => {}); // the search itself says what is wrong
  }
}

function renderHeading(search) {
  const { pictures, crop } = albumOf(search);
  const { words, like } = search;
  const seen = crop ? "that part of your picture" : pictures.length > 1 ? `your ${pictures.length} pictures` : pictures.length ? "your picture" : "";
  // Which ones is said above; a name that comes later would move what is below.
  const liked = like.length > 1 ? `these ${like.length}` : like.length ? "this one" : "";
  const examples = [seen, liked].filter(Boolean).join(" and ");
  let title = isFiltered(search) || search.unlike.length ? "Browsing" : "A look around";
  if (words) title = examples ? `“${words}”, like ${examples}` : `Results for “${words}”`;
  else if (examples) title = seen ? `Like ${examples}` : `More like ${examples}`;
  byId("heading").textContent = title;
  const only = like.length === 1 && kindOf(search) === "like" && known.get(like[0]);
  const named = only ? `More like ${nameOf(only)}` : title;
  document.title = kindOf(search) === "browse" ? "Lookalike" : `${named} – Lookalike`;
}

const ORDERS = {
  best: ", best match first",
  similar: ", most similar first",
  price: ", best matches by price",
  "-price": ", best matches by price",
  "-added_at": ", best matches by date",
};

function renderList() {
  const browsing = kindOf(list.search) === "browse" && list.search.order === "best";
  renderCount(list, browsing ? "" : (ORDERS[list.search.order] ?? ""));
  byId("more").hidden = list.end;
  byId("drawer-done").textContent = `Show ${products(list.total)}`;
  // It tells of a change only, and the end may be as near as it was.
  nearEnd.disconnect();
  nearEnd.observe(byId("more").parentElement);
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

function renderCatalog({ release, offered: worth, answer }) {
  offered = worth;
  remember(answer.results);
  byId("release").textContent = `Release ${release.version} · ${products(release.products)} · ${count(release.pictures)} pictures`;
  const words = byId("words");
  words.disabled = !release.supports_text;
  words.placeholder = release.supports_text ? "What are you looking for?" : "This catalog is searched by picture";
  document.querySelector(".field .go").disabled = words.disabled;
  words.title = release.supports_text ? "" : "The model behind this catalog sees pictures and reads no words.";
  for (const option of byId("sort").options) {
    const column = option.dataset.column;
    option.hidden = Boolean(column) && !(column in release.columns);
  }
  renderControls();
}

// ── wiring ──────────────────────────────────────────────────────────────────────────────────────────────────────────

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = byId("words").value.trim();
  if (!words && kindOf(byWords(current, "")) === "browse") return byId("words").focus();
  if (window.matchMedia("(hover: none)").matches) byId("words").blur(); // the keyboard would cover the results
  ask(byWords(current, words));
});
byId("sort").addEventListener("change", (event) => ask({ ...current, order: event.target.value }));
byId("variety").addEventListener("change", (event) => ask({ ...current, variety: event.target.checked }));
byId("more").addEventListener("click", () => showMore({ asked: true }));

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-page]");
  if (!link || event.button !== 0) return;
  const { id, search, position } = link.closest(".card")?.dataset ?? {};
  if (search && link.matches(".card-open")) api.clicked({ search_id: search, product_id: id, position: Number(position) });
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // a new tab or window gets the address
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
whenLoaded(renderCatalog);
show(current);
byId("main").hidden = false; // it was, so that nothing is seen to move into its place
getCatalog().catch(() => {}); // beside the first search, which tells if there is something wrong

// The grid of results, and the message shown in its place when there are none.

import { lessLike, modalityOf, moreLike, toUrl, withProduct } from "../model/query.js";
import { byId, framedPicture, h, icon } from "./dom.js";
import { displayName, formatPrice, formatProductCount } from "./format.js";

const SKELETONS = 12;
const ORDER_LABELS = {
  best: ", best match first",
  similar: ", most similar first",
  price: ", best matches by price",
  "-price": ", best matches by price",
  "-added_at": ", best matches by date",
};

const grid = byId("grid");
const message = byId("message");
const results = byId("results");

/** Create a product's card: picture and title open the product, two links refine the query by it. */
export function card(product, query, { showSimilarity = true } = {}) {
  const name = displayName(product);
  const { searchId, position } = product.hit ?? {};
  return h(
    "li",
    { class: "card", "data-id": product.product_id, "data-search": searchId, "data-position": position },
    h(
      "a",
      { class: "card-open", href: toUrl(withProduct(query, product.product_id)), "data-navigate": true },
      framedPicture(product.image_url),
      h("h3", {}, name),
    ),
    h(
      "p",
      { class: "facts" },
      h("span", { class: "brand-name" }, product.brand ?? product.category ?? ""),
      product.price != null && h("span", { class: "price-tag" }, formatPrice(product.price)),
    ),
    h(
      "p",
      { class: "card-foot" },
      showSimilarity && h("span", { class: "similarity", role: "img", "data-cosine": product.similarity_score }, h("i")),
      refineLink("More", "plus", moreLike(query, product.product_id), name),
      refineLink("Less", "minus", lessLike(query, product.product_id), name),
    ),
  );
}

const refineLink = (label, iconName, query, name) =>
  h(
    "a",
    {
      class: "refine", href: toUrl(query), "data-navigate": true,
      title: `${label} like this`, "aria-label": `${label} like this: ${name}`,
    },
    icon(iconName),
    label,
  );

/** Show products in the grid, after its cards with `append`, else in their place. Returns the new cards. */
export function renderResults(products, query, { append = false } = {}) {
  message.hidden = true;
  const cards = products.map((product) => card(product, query, { showSimilarity: modalityOf(query) !== "browse" }));
  if (append) grid.append(...cards);
  else grid.replaceChildren(...cards);
  scaleSimilarityBars();
  return cards;
}

/**
 * Scale the similarity bars to the range of the results on the page, because a cosine means little by itself: for text,
 * 0.3 is high. Its value is in the tooltip.
 */
function scaleSimilarityBars() {
  const bars = [...grid.querySelectorAll(".similarity")];
  const cosines = bars.map((bar) => Number(bar.dataset.cosine));
  const [maximum, minimum] = [Math.max(...cosines), Math.min(...cosines)];
  bars.forEach((bar, index) => {
    const share = maximum > minimum ? (cosines[index] - minimum) / (maximum - minimum) : 1;
    bar.firstChild.style.setProperty("width", `${Math.round(10 + 90 * share)}%`);
    const label = `Similarity ${cosines[index].toFixed(3)}`;
    bar.setAttribute("aria-label", label);
    bar.title = `${label} (cosine). The bar compares it with the other results here.`;
  });
}

/** Show that results are loading: fade the old ones, or show placeholders if there are none. */
export function renderBusy(busy) {
  results.setAttribute("aria-busy", String(busy));
  byId("progress").hidden = !busy;
  if (!busy || grid.querySelector(".card")) return;
  message.hidden = true;
  grid.replaceChildren(...Array.from({ length: SKELETONS }, skeleton));
}

const skeleton = () =>
  h(
    "li",
    { class: "skeleton", "aria-hidden": "true" },
    h("span", { class: "frame" }),
    h("span", { class: "line" }),
    h("span", { class: "line short" }),
  );

/**
 * Show a message in place of results.
 *
 * @param {Array<[string, () => void]>} actions labels of buttons, and what they do.
 */
export function renderMessage(title, detail, actions = [], { role = null } = {}) {
  grid.replaceChildren();
  message.hidden = false;
  message.setAttribute("role", role ?? "none");
  const buttons = actions.map(([label, onclick]) => h("button", { class: "button", type: "button", onclick }, label));
  message.replaceChildren(icon("picture"), h("h3", {}, title), h("p", {}, detail), h("p", { class: "actions" }, buttons));
}

/** Show a list's number of products, its order and how long the query took. */
export function renderCount(list) {
  const { query, total, queryTime } = list;
  const browsing = modalityOf(query) === "browse" && query.order === "best";
  const order = browsing ? "" : (ORDER_LABELS[query.order] ?? "");
  byId("results-count").textContent = `${formatProductCount(total)}${order} · ${Math.max(1, Math.round(queryTime))} ms`;
}

// The grid of products, and what stands in its place while there are none.

import { byId, h, icon, nameOf, picture, price, products } from "./dom.js";
import { kindOf, lessLike, moreLike, toUrl, withProduct } from "./search.js";

const SKELETONS = 12;

const grid = byId("grid");
const message = byId("message");
const results = byId("results");

/** A product as a card: the picture and title open it, the small links look for more like it, or less. */
export function card(product, search, closeness = true) {
  const name = nameOf(product);
  const { search_id: searchId, position } = product.found ?? {};
  return h(
    "li",
    { class: "card", "data-id": product.product_id, "data-search": searchId, "data-position": position },
    h(
      "a",
      { class: "card-open", href: toUrl(withProduct(search, product.product_id)), "data-page": true },
      picture(product.image_url),
      h("h3", {}, name),
    ),
    h(
      "p",
      { class: "facts" },
      h("span", { class: "brand-name" }, product.brand ?? product.category ?? ""),
      product.price != null && h("span", { class: "price-tag" }, price(product.price)),
    ),
    h(
      "p",
      { class: "card-foot" },
      closeness && h("span", { class: "closeness", role: "img", "data-cosine": product.similarity_score }, h("i")),
      refine("More", "plus", moreLike(search, product.product_id), name),
      refine("Less", "minus", lessLike(search, product.product_id), name),
    ),
  );
}

const refine = (label, sign, search, name) =>
  h(
    "a",
    { class: "alike", href: toUrl(search), "data-page": true, title: `${label} like this`, "aria-label": `${label} like this: ${name}` },
    icon(sign),
    label,
  );

/** Put products on the page; with `append`, after those that are there. */
export function renderResults(found, search, { append = false } = {}) {
  message.hidden = true;
  const cards = found.map((product) => card(product, search, kindOf(search) !== "browse"));
  if (append) grid.append(...cards);
  else grid.replaceChildren(...cards);
  scaleCloseness();
  return cards;
}

/**
 * A cosine says little by itself: for words 0.3 is a lot. The bars compare the results on the page with each other, and
 * the number is there for those who ask.
 */
function scaleCloseness() {
  const bars = [...grid.querySelectorAll(".closeness")];
  const cosines = bars.map((bar) => Number(bar.dataset.cosine));
  const [most, least] = [Math.max(...cosines), Math.min(...cosines)];
  bars.forEach((bar, place) => {
    const share = most > least ? (cosines[place] - least) / (most - least) : 1;
    bar.firstChild.style.setProperty("width", `${Math.round(10 + 90 * share)}%`);
    const spoken = `Similarity ${cosines[place].toFixed(3)}`;
    bar.setAttribute("aria-label", spoken);
    bar.title = `${spoken} (cosine). The bar compares it with the other results here.`;
  });
}

/** While results are on their way: the old ones fade; where there are none, empty cards hold their place. */
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

/** Say something in place of products. `actions`: [label, what to do]. */
export function renderMessage(title, detail, actions = [], { role = null } = {}) {
  grid.replaceChildren();
  message.hidden = false;
  message.setAttribute("role", role ?? "none");
  message.replaceChildren(
    icon("picture"),
    h("h3", {}, title),
    h("p", {}, detail),
    h("p", { class: "actions" }, actions.map(([label, onclick]) => h("button", { class: "button", type: "button", onclick }, label))),
  );
}

export function renderCount(list, order) {
  byId("count").textContent = `${products(list.total)}${order} · ${Math.max(1, Math.round(list.milliseconds))} ms`;
}

// One product, in a dialog over the results.

import * as api from "./api.js";
import { byId, h, heading, icon, nameOf, picture, price, text } from "./dom.js";
import { card } from "./results.js";
import { lessLike, moreLike, toUrl } from "./search.js";

const ALIKE = 8;

const dialog = byId("product");
let running = new AbortController();

/** `closed` is called whenever the dialog goes, whoever closed it. */
export function wireProduct(closed) {
  dialog.addEventListener("close", () => {
    running.abort();
    closed();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the curtain around it
  });
}

export function closeProduct() {
  dialog.close();
}

/**
 * Show the product that `search` names.
 *
 * @param {object | undefined} known what the results said of it: shown until the whole has come.
 */
export async function openProduct(search, known) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const id = search.product;
  fill(search, known ?? { product_id: id, title: "…", attributes: {} }, known ? [known.image_url] : [], true);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  try {
    const [whole, alike] = await Promise.all([api.product(id, signal), api.similar(id, ALIKE, signal)]);
    fill(search, whole, whole.pictures, false);
    byId("product-alike").replaceChildren(...alike.results.map((each) => card(each, search, false)));
  } catch (error) {
    if (signal.aborted) return;
    dialog.replaceChildren(head("Not to be had"), h("p", { class: "sorry", role: "alert" }, error.message));
  }
}

const head = (title) =>
  h(
    "div",
    { class: "dialog-head" },
    h("h2", { id: "product-title", tabindex: "-1" }, title),
    h("button", { class: "round", type: "button", "aria-label": "Close", onclick: closeProduct }, icon("close")),
  );

function fill(search, product, pictures, partial) {
  const facts = rows(product).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
  dialog.replaceChildren(
    head(nameOf(product)),
    h(
      "div",
      { class: "product-body" },
      gallery(product, pictures),
      h(
        "div",
        { class: "product-facts" },
        product.brand && h("p", { class: "brand-name" }, product.brand),
        product.price != null && h("p", { class: "price-tag" }, price(product.price)),
        h("dl", {}, facts),
        h(
          "p",
          { class: "actions" },
          h("a", { class: "button go", href: toUrl(moreLike(search, product.product_id)), "data-page": true }, icon("alike"), "More like this"),
          h("a", { class: "button", href: toUrl(lessLike(search, product.product_id)), "data-page": true }, icon("minus"), "Less like this"),
        ),
      ),
    ),
    h("h3", {}, "Similar products"),
    h("ul", { id: "product-alike", class: "strip", role: "list" }, partial && Array.from({ length: 4 }, () => h("li", { class: "skeleton" }, h("span", { class: "frame" })))),
  );
}

function rows(product) {
  const known = [
    ["Category", product.category],
    ["Rating", product.avg_rating != null && `${text(product.avg_rating)} of 5`],
    ["Added", product.added_at && new Date(product.added_at).toLocaleDateString()],
  ];
  const own = Object.entries(product.attributes).map(([name, value]) => [heading(name), value != null && text(value)]);
  return [...known, ...own, ["Product number", product.product_id]].filter(([, value]) => value);
}

function gallery(product, pictures) {
  const large = h("div", { class: "large" }, pictures.length ? picture(pictures[0], { alt: nameOf(product), lazy: false }) : h("span", { class: "frame" }));
  if (pictures.length < 2) return h("div", { class: "gallery" }, large);
  const buttons = pictures.map((url, number) =>
    h(
      "button",
      {
        type: "button",
        "aria-label": `Picture ${number + 1} of ${pictures.length}`,
        "aria-pressed": String(number === 0),
        onclick: () => {
          large.replaceChildren(picture(url, { alt: nameOf(product), lazy: false }));
          buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === number)));
        },
      },
      picture(url, { lazy: false }),
    ),
  );
  return h("div", { class: "gallery" }, large, h("div", { class: "thumbs" }, buttons));
}

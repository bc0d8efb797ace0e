// The product dialog, which opens over the results.

import * as api from "../model/api.js";
import { lessLike, moreLike, toUrl } from "../model/query.js";
import { byId, framedPicture, h, icon } from "./dom.js";
import { columnLabel, displayName, formatPrice, formatValue } from "./format.js";
import { card } from "./results.js";

const SIMILAR_PRODUCTS = 8;
const SIMILAR_SKELETONS = 4;

const dialog = byId("product");
let loading = new AbortController();

/** Call `onClose` whenever the dialog closes, for whatever reason. */
export function wireProductDialog(onClose) {
  dialog.addEventListener("close", () => {
    loading.abort();
    onClose();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // a click on the backdrop
  });
}

export function closeProductDialog() {
  dialog.close();
}

/**
 * Show the product that `query.productId` names.
 *
 * @param {object | undefined} known the product as the results have it, shown until all of it is loaded.
 */
export async function openProductDialog(query, known) {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const id = query.productId;
  render(query, known ?? { product_id: id, title: "…", attributes: {} }, known ? [known.image_url] : [], similarSkeletons());
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  try {
    const [product, similar] = await Promise.all([
      api.fetchProduct(id, signal),
      api.fetchSimilar(id, SIMILAR_PRODUCTS, signal),
    ]);
    const cards = similar.results.map((result) => card(result, query, { showSimilarity: false }));
    render(query, product, product.pictures, cards);
  } catch (error) {
    if (signal.aborted) return;
    dialog.replaceChildren(header("Product not available"), h("p", { class: "error-text", role: "alert" }, error.message));
  }
}

const similarSkeletons = () =>
  Array.from({ length: SIMILAR_SKELETONS }, () => h("li", { class: "skeleton" }, h("span", { class: "frame" })));

const header = (title) =>
  h(
    "div",
    { class: "dialog-head" },
    h("h2", { id: "product-title", tabindex: "-1" }, title),
    h("button", { class: "icon-button", type: "button", "aria-label": "Close", onclick: closeProductDialog }, icon("close")),
  );

function render(query, product, pictures, similar) {
  const id = product.product_id;
  dialog.replaceChildren(
    header(displayName(product)),
    h(
      "div",
      { class: "product-body" },
      gallery(product, pictures),
      h(
        "div",
        { class: "product-facts" },
        product.brand && h("p", { class: "brand-name" }, product.brand),
        product.price != null && h("p", { class: "price-tag" }, formatPrice(product.price)),
        h("dl", {}, details(product).flatMap(([label, value]) => [h("dt", {}, label), h("dd", {}, value)])),
        h(
          "p",
          { class: "actions" },
          refineButton("button primary", "similar", "More like this", moreLike(query, id)),
          refineButton("button", "minus", "Less like this", lessLike(query, id)),
        ),
      ),
    ),
    h("h3", {}, "Similar products"),
    h("ul", { id: "similar-products", class: "strip", role: "list" }, similar),
  );
}

const refineButton = (classes, iconName, label, query) =>
  h("a", { class: classes, href: toUrl(query), "data-navigate": true }, icon(iconName), label);

/** The product's attributes as [label, text], without those that have no value. */
function details(product) {
  const builtIn = [
    ["Category", product.category],
    ["Rating", product.avg_rating != null && `${formatValue(product.avg_rating)} of 5`],
    ["Added", product.added_at && new Date(product.added_at).toLocaleDateString()],
  ];
  const custom = Object.entries(product.attributes).map(([name, value]) => [
    columnLabel(name),
    value != null && formatValue(value),
  ]);
  return [...builtIn, ...custom, ["Product number", product.product_id]].filter(([, text]) => text);
}

/** A large picture and, if there are several, a thumbnail for each of them. */
function gallery(product, pictures) {
  const largePicture = (url) => framedPicture(url, { alt: displayName(product), lazy: false });
  const large = h("div", { class: "large" }, pictures.length ? largePicture(pictures[0]) : h("span", { class: "frame" }));
  if (pictures.length < 2) return h("div", { class: "gallery" }, large);
  const thumbnails = pictures.map((url, index) =>
    h(
      "button",
      {
        type: "button",
        "aria-label": `Picture ${index + 1} of ${pictures.length}`,
        "aria-pressed": String(index === 0),
        onclick: () => {
          large.replaceChildren(largePicture(url));
          thumbnails.forEach((thumbnail, other) => thumbnail.setAttribute("aria-pressed", String(other === index)));
        },
      },
      framedPicture(url, { lazy: false }),
    ),
  );
  return h("div", { class: "gallery" }, large, h("div", { class: "thumbnails" }, thumbnails));
}

// The hero at the top of the start page: what the page does, and example queries made from products of the catalog.

import { moreLike, toUrl, withText } from "../model/query.js";
import { byId, framedPicture, h } from "./dom.js";
import { displayName } from "./format.js";

const MAX_EXAMPLES = 6;

const hero = byId("hero");
const examples = byId("examples");

/**
 * Show or hide the hero.
 *
 * @param {object | null} firstPage answer with the products to make examples from; null while it is loading.
 * @param {boolean} supportsText whether the catalog's encoder supports text.
 */
export function renderHero(visible, query, firstPage, supportsText) {
  hero.hidden = !visible;
  if (!visible || !firstPage) return;
  byId("pitch-hint").textContent = supportsText
    ? "Drop a photo anywhere on this page, paste one, or say it in words."
    : "Drop a photo anywhere on this page, or paste one.";
  const links = supportsText ? textExamples(firstPage.results, query) : likeExamples(firstPage.results, query);
  examples.replaceChildren(...(links.length ? [h("span", { class: "examples-label" }, "Try"), ...links] : []));
}

/** Texts such as "red mug", since people name the colour and the kind of a thing first. No colour or kind is repeated. */
function textExamples(products, query) {
  const used = new Set();
  const links = [];
  for (const product of products) {
    const noun = nounOf(product);
    const colour = textAttribute(product, /^colou?r$/i);
    if (!noun || used.has(noun) || (colour && used.has(colour))) continue;
    used.add(noun).add(colour);
    const text = [colour, noun].filter(Boolean).join(" ").toLowerCase();
    links.push(exampleLink(product, text, withText(query, text)));
    if (links.length === MAX_EXAMPLES) break;
  }
  return links;
}

const likeExamples = (products, query) =>
  products
    .slice(0, MAX_EXAMPLES)
    .map((product) => exampleLink(product, nounOf(product) || displayName(product), moreLike(query, product.product_id)));

function exampleLink(product, label, query) {
  const picture = framedPicture(product.image_url, { lazy: false });
  return h("a", { class: "example", href: toUrl(query), "data-navigate": true }, picture, label);
}

/** Return a text attribute whose name matches a pattern, if the product has one. */
function textAttribute(product, pattern) {
  const entry = Object.entries(product.attributes).find(([name, value]) => pattern.test(name) && typeof value === "string");
  return entry?.[1];
}

/** What kind of thing a product is, in a word or two; the last part of a category path. */
function nounOf(product) {
  const kind = textAttribute(product, /^(kind|type|product_?type|subcategory|article_?type)$/i);
  return kind ?? product.category?.split(/[>/|]/).at(-1).trim();
}

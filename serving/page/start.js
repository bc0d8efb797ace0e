// The start of the page: what to do here, and searches to begin with, drawn from products that are there.

import { byId, h, nameOf, picture } from "./dom.js";
import { byWords, moreLike, toUrl } from "./search.js";

const EXAMPLES = 6;

const hero = byId("hero");
const examples = byId("examples");

export function renderHero(visible, search, start, supportsText) {
  hero.hidden = !visible;
  if (!visible || !start) return;
  byId("pitch-how").textContent = supportsText
    ? "Drop a photo anywhere on this page, paste one, or say it in words."
    : "Drop a photo anywhere on this page, or paste one.";
  const made = supportsText ? wordExamples(start.results, search) : likeExamples(start.results, search);
  examples.replaceChildren(...(made.length ? [h("span", { class: "try" }, "Try"), ...made] : []));
}

/** "red mug" for a red mug: colours and kinds are what people say first. Each kind and each text once. */
function wordExamples(products, search) {
  const said = new Set();
  const made = [];
  for (const product of products) {
    const noun = nounOf(product);
    const colour = attribute(product, /^colou?r$/i);
    if (!noun || said.has(noun) || (colour && said.has(colour))) continue;
    said.add(noun).add(colour);
    made.push(example(product, [colour, noun].filter(Boolean).join(" ").toLowerCase(), (words) => byWords(search, words)));
    if (made.length === EXAMPLES) break;
  }
  return made;
}

const likeExamples = (products, search) =>
  products.slice(0, EXAMPLES).map((product) => example(product, nounOf(product) || nameOf(product), () => moreLike(search, product.product_id)));

const example = (product, words, search) =>
  h("a", { class: "example", href: toUrl(search(words)), "data-page": true }, picture(product.image_url, { lazy: false }), words);

function attribute(product, name) {
  const found = Object.entries(product.attributes).find(([key, value]) => name.test(key) && typeof value === "string");
  return found?.[1];
}

/** What a product is, in a word or two; of a category path its last part. */
function nounOf(product) {
  const kind = attribute(product, /^(kind|type|product_?type|subcategory|article_?type)$/i);
  return kind ?? product.category?.split(/[>/|]/).at(-1).trim();
}

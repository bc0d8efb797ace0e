// Lists of results: fetched page by page, and kept for the back button; and the products that were in them.

import * as api from "./api.js";
import { getCatalog, noteRelease } from "./catalog.js";
import { isFiltered, keyOf, kindOf } from "./search.js";

const KEPT_LISTS = 20;
const KEPT_PRODUCTS = 2000;

const lists = new Map(); // key → list

/** Products by their id, as any answer told of them. */
export const known = new Map();

export function remember(found) {
  for (const product of found) known.set(product.product_id, product);
  for (const id of known.keys()) {
    if (known.size <= KEPT_PRODUCTS) break;
    known.delete(id);
  }
}

/** A list of which nothing has been fetched yet. */
export const newList = (search) => ({
  key: keyOf(search), search, results: [], pages: 0, cursor: null, end: false, total: 0, milliseconds: 0,
});

/** The list that was shown under a key, if it is still kept. */
export const keptList = (key) => lists.get(key);

/** Fetch the next products of a list, and return those that are new in it. */
export async function addPage(list, signal) {
  const answer = await page(list, signal);
  signal.throwIfAborted(); // a page that was there already is not aborted by itself
  list.pages += 1;
  list.cursor = answer.next_cursor;
  list.end = !answer.next_cursor;
  list.total = answer.total_found;
  list.milliseconds = answer.query_time_ms;
  // Which search found a product, and where: a click tells it to the server.
  const fresh = answer.results.map((product, at) => ({
    ...product, found: { search_id: answer.search_id, position: list.results.length + at },
  }));
  list.results.push(...fresh);
  remember(fresh);
  lists.delete(list.key);
  lists.set(list.key, list);
  if (lists.size > KEPT_LISTS) lists.delete(lists.keys().next().value);
  noteRelease(answer.release);
  return fresh;
}

async function page({ search, cursor }, signal) {
  if (kindOf(search) !== "browse") return api.results(search, { cursor, signal });
  // What an encoder makes nothing of cannot be asked for, so the page must know what is served before it browses.
  const { release, answer } = await getCatalog();
  const beginning = !cursor && !isFiltered(search) && !search.unlike.length && search.order === "best";
  return beginning ? answer : api.results(search, { cursor, supportsText: release.supports_text, signal });
}

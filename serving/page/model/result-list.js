// Lists of results, fetched page by page and cached for the back button; and the products seen in them.

import * as api from "./api.js";
import { getCatalog, noteRelease } from "./catalog.js";
import { isFiltered, modalityOf, resultKey } from "./query.js";

const MAX_LISTS = 20;
const MAX_PRODUCTS = 2000;

const lists = new Map(); // result key → list, the oldest first

/** Products seen in any answer, by id. */
export const knownProducts = new Map();

export function rememberProducts(products) {
  for (const product of products) knownProducts.set(product.product_id, product);
  for (const id of knownProducts.keys()) {
    if (knownProducts.size <= MAX_PRODUCTS) break;
    knownProducts.delete(id);
  }
}

/** Create a list with nothing fetched yet. */
export const newList = (query) => ({
  key: resultKey(query), query, results: [], pages: 0, cursor: null, complete: false, total: 0, queryTime: 0,
});

/** Return the list cached under a result key, if any. */
export const cachedList = (key) => lists.get(key);

/** Fetch the next page of a list, append it, and return its results. */
export async function fetchNextPage(list, signal) {
  const answer = await fetchPage(list, signal);
  signal.throwIfAborted(); // a catalog that is loaded already does not abort by itself
  list.pages += 1;
  list.cursor = answer.next_cursor;
  list.complete = !answer.next_cursor;
  list.total = answer.total_found;
  list.queryTime = answer.query_time_ms;
  // Where each result was shown, for click events.
  const results = answer.results.map((product, index) => ({
    ...product, hit: { searchId: answer.search_id, position: list.results.length + index },
  }));
  list.results.push(...results);
  rememberProducts(results);
  lists.delete(list.key);
  lists.set(list.key, list);
  if (lists.size > MAX_LISTS) lists.delete(lists.keys().next().value);
  noteRelease(answer.release);
  return results;
}

async function fetchPage({ query, cursor }, signal) {
  if (modalityOf(query) !== "browse") return api.fetchResults(query, { cursor, signal });
  // How to browse depends on whether the encoder supports text, so the catalog must be loaded first.
  const { release, answer } = await getCatalog();
  const firstPage = !cursor && !isFiltered(query) && !query.unlike.length && query.order === "best";
  return firstPage ? answer : api.fetchResults(query, { cursor, supportsText: release.supports_text, signal });
}

// The HTTP API, as this page uses it.

import { albumOf, filtersOf, kindOf, paramsOf } from "./search.js";

export const PAGE_SIZE = 24;

/** Words that prefer nothing. */
const NOTHING = "product";
/** Of one category before others get their turn, while nothing is asked for. */
const SPREAD = 2;

/** What the server, or the way to it, said instead of an answer. */
export class Problem extends Error {
  /**
   * @param {number} status of the answer; 0: there was none.
   * @param {number} retryAfter seconds after which to ask again; 0: asking the same again is no use.
   */
  constructor(status, detail, retryAfter = 0) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const KEY = "lookalike-api-key";

/** The request, with the API key that was given before, if there is one. */
function send(path, options) {
  const key = localStorage.getItem(KEY);
  return fetch(path, key ? { ...options, headers: { ...options.headers, "X-API-Key": key } } : options);
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await send(path, options);
    while (response.status === 401) {
      const key = window.prompt("This server asks for an API key:");
      if (!key) break;
      localStorage.setItem(KEY, key);
      response = await send(path, options);
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server cannot be reached. Check the connection and try again.");
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  let detail = `The server answered ${response.status} ${response.statusText}.`;
  if (response.headers.get("content-type")?.startsWith("application/problem+json")) {
    const problem = await response.json();
    const named = !problem.field || problem.detail.startsWith(problem.field);
    detail = named ? problem.detail : `${problem.field}: ${problem.detail}`;
  }
  const wait = response.status === 503 || response.status === 429 ? Number(response.headers.get("retry-after")) || 5 : 0;
  throw new Problem(response.status, detail, wait);
}

const productPath = (id) => `/v1/products/${encodeURIComponent(id)}`;

export const release = (signal) => ask("/v1/release", { signal });

export const product = (id, signal) => ask(productPath(id), { signal });

export const similar = (id, limit, signal) =>
  ask(`${productPath(id)}/similar?${paramsOf({ limit, max_per_category: 0 })}`, { signal });

/** Somebody opened a result; whether that could be counted is nothing to the shopper. */
export const clicked = (click) => postJson("/v1/events/click", click, { keepalive: true }).catch(() => {});

/**
 * One page of what a search finds.
 *
 * @param {string | null} cursor of the page before.
 * @param {boolean} supportsText whether the catalog's encoder reads words.
 * @param {string[]} facets attributes to count as well.
 */
export function results(search, { cursor = null, supportsText = true, facets = [], signal } = {}) {
  const browsing = kindOf(search) === "browse";
  const options = { ...filtersOf(search), limit: PAGE_SIZE, rerank: search.order !== "similar" };
  options.max_per_category = browsing ? SPREAD : search.variety ? 5 : 0;
  if (search.order !== "best" && search.order !== "similar") options.sort = search.order;
  if (cursor) options.cursor = cursor;
  if (facets.length) options.facets = facets;
  return searched(search, options, supportsText, signal);
}

/** What is sought, over the route that is made for it: the server counts its searches by kind. */
async function searched(search, options, supportsText, signal) {
  const { like, unlike } = search;
  let [text, album] = [search.words, albumOf(search)];
  if (kindOf(search) === "browse") {
    // Something to look at: a search that prefers nothing, so that the shop's own signals make the order, spread over the
    // categories. An encoder that sees pictures only gets a picture of nothing.
    if (supportsText) text = NOTHING;
    else album = { pictures: [{ file: await blank() }], crop: null };
  }
  const given = [text && "text", album.pictures.length && "pictures", like.length && "like"].filter(Boolean);
  if (given.length === 1 && !unlike.length) {
    if (text) return ask(`/v1/search/text?${paramsOf({ q: text, ...options })}`, { signal });
    if (!like.length) return byPictures(album, options, signal);
    if (like.length === 1) return ask(`${productPath(like[0])}/similar?${paramsOf(options)}`, { signal });
  }
  const images = album.pictures.map(async ({ file }) => ({ data: await encoded(file), crop: cropOf(album) }));
  const body = { ...options, images: await Promise.all(images), like, unlike };
  if (text) body.text = text;
  const share = search.balance / 100;
  if (text && given.length > 1) body.weights = { text: 1 - share, images: share, like: share };
  return postJson("/v1/search", body, { signal });
}

function byPictures(album, options, signal) {
  const body = new FormData();
  for (const each of album.pictures) body.append("image", each.file);
  if (album.crop) body.append("crop", cropOf(album));
  return ask(`/v1/search/image?${paramsOf(options)}`, { method: "POST", body, signal });
}

const cropOf = (album) => album.crop && album.crop.map((edge) => edge.toFixed(4)).join(",");

const postJson = (path, body, options) =>
  ask(path, { ...options, method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** A file as a data: URL. */
function encoded(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Problem(0, "A picture cannot be read any more: add it again.")));
    reader.readAsDataURL(file);
  });
}

async function blank() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 224;
  const context = canvas.getContext("2d");
  const shade = context.createLinearGradient(0, 0, 0, 224);
  shade.addColorStop(0, "#eeeeee");
  shade.addColorStop(1, "#bbbbbb");
  context.fillStyle = shade;
  context.fillRect(0, 0, 224, 224);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg"));
}

/**
 * How many products have each value of some attributes, under the filters of a search: Map from name to counts.
 *
 * Values of one attribute are alternatives, so an attribute's own choice does not count against its other values. Counts
 * depend on the filters, and on the products that the search leaves out, so they come with one result of a search that
 * needs nothing encoded anew: by words that the server has just read, or by products.
 */
export async function counts(search, names, supportsText, signal) {
  const options = { ...filtersOf(search), limit: 1, rerank: false, multi_select: true, facets: names };
  const cheap = { ...search, pictures: "", words: search.like.length ? "" : search.words };
  const answer = await searched(cheap, options, supportsText, signal);
  return new Map(Object.entries(answer.facets));
}

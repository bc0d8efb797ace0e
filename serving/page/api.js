// The HTTP API, as this page uses it.

import { albumOf, filterParams, kindOf } from "./search.js";

export const PAGE_SIZE = 24;

/** Words that prefer nothing. */
const NOTHING = "product";

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
  return fetch(path, key ? { ...options, headers: { "X-API-Key": key } } : options);
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
  if (response.ok) return response.json();
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
  ask(`${productPath(id)}/similar?${new URLSearchParams({ limit, max_per_category: 0 })}`, { signal });

/** One page of what a search finds. Words and pictures together would be one more case here. */
export function results(search, { offset = 0, signal } = {}) {
  const params = filterParams(search);
  params.set("limit", PAGE_SIZE);
  params.set("offset", offset);
  params.set("rerank", String(!search.bySimilarity));
  params.set("max_per_category", search.variety ? 5 : 0);
  switch (kindOf(search)) {
    case "pictures": {
      const { pictures, crop } = albumOf(search);
      return post(pictures.map((each) => each.file), crop, params, signal);
    }
    case "words":
      params.set("q", search.words);
      return ask(`/v1/search/text?${params}`, { signal });
    default:
      return ask(`${productPath(search.like)}/similar?${params}`, { signal });
  }
}

function post(files, crop, params, signal) {
  const body = new FormData();
  for (const file of files) body.append("image", file);
  if (crop) body.append("crop", crop.map((edge) => edge.toFixed(4)).join(","));
  return ask(`/v1/search/image?${params}`, { method: "POST", body, signal });
}

/**
 * One page of something to look at when nothing has been asked for: a search that prefers nothing, so that the shop's
 * own signals make the order, spread over the categories. Encoders that see pictures only get a picture of nothing.
 */
export async function browse(search, supportsText, { facets = [], offset = 0, signal } = {}) {
  const params = filterParams(search);
  params.set("limit", PAGE_SIZE);
  params.set("offset", offset);
  params.set("max_per_category", 2);
  if (facets.length) params.set("facets", facets.join(","));
  if (!supportsText) return post([await blank()], null, params, signal);
  params.set("q", NOTHING);
  return ask(`/v1/search/text?${params}`, { signal });
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
 * depend on the filters alone, so they come with one result of a search that needs nothing encoded anew.
 */
export async function counts(search, names, supportsText, signal) {
  const params = filterParams(search);
  params.set("limit", 1);
  params.set("rerank", "false");
  params.set("multi_select", "true");
  params.set("facets", names.join(","));
  const kind = kindOf(search);
  let answer;
  if (kind === "like") answer = await ask(`${productPath(search.like)}/similar?${params}`, { signal });
  else if (supportsText) {
    params.set("q", kind === "words" ? search.words : NOTHING);
    answer = await ask(`/v1/search/text?${params}`, { signal });
  } else answer = await post([await blank()], null, params, signal);
  return new Map(Object.entries(answer.facets));
}

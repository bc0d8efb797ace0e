// Client of the HTTP API.

import { albumOf, filterParams, modalityOf, toSearchParams, VARIETY_CAP } from "./query.js";

export const PAGE_SIZE = 24;

/** A text that favours no product. */
const NEUTRAL_TEXT = "product";
/** `max_per_category` while browsing. */
const BROWSE_CAP = 2;
const API_KEY_ITEM = "lookalike-api-key";

/** A request that failed, with a message for the shopper. */
export class ApiError extends Error {
  /**
   * @param {number} status HTTP status; 0 if there was no response.
   * @param {string} detail what went wrong.
   * @param {number} retryAfter seconds to wait before a retry; 0 if a retry is pointless.
   */
  constructor(status, detail, retryAfter = 0) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Send a request, with the stored API key if there is one. */
function send(path, options) {
  const key = localStorage.getItem(API_KEY_ITEM);
  return fetch(path, key ? { ...options, headers: { ...options.headers, "X-API-Key": key } } : options);
}

/** Send a request and return its parsed JSON; prompt for an API key while the server requires one. */
async function request(path, options = {}) {
  let response;
  try {
    response = await send(path, options);
    while (response.status === 401) {
      const key = window.prompt("This server requires an API key:");
      if (!key) break;
      localStorage.setItem(API_KEY_ITEM, key);
      response = await send(path, options);
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached. Check the connection and try again.");
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  throw await toApiError(response);
}

async function toApiError(response) {
  let detail = `The server answered ${response.status} ${response.statusText}.`;
  if (response.headers.get("content-type")?.startsWith("application/problem+json")) {
    const problem = await response.json();
    const namesField = !problem.field || problem.detail.startsWith(problem.field);
    detail = namesField ? problem.detail : `${problem.field}: ${problem.detail}`;
  }
  const retryable = response.status === 503 || response.status === 429;
  return new ApiError(response.status, detail, retryable ? Number(response.headers.get("retry-after")) || 5 : 0);
}

const postJson = (path, body, options) =>
  request(path, { ...options, method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

const productPath = (id) => `/v1/products/${encodeURIComponent(id)}`;

export const fetchRelease = (signal) => request("/v1/release", { signal });

export const fetchProduct = (id, signal) => request(productPath(id), { signal });

export const fetchSimilar = (id, limit, signal) =>
  request(`${productPath(id)}/similar?${toSearchParams({ limit, max_per_category: 0 })}`, { signal });

/** Record a click on a result. A failure does not concern the shopper and is ignored. */
export const recordClick = (click) => postJson("/v1/events/click", click, { keepalive: true }).catch(() => {});

/**
 * Fetch one page of results.
 *
 * @param {string | null} cursor of the previous page.
 * @param {boolean} supportsText whether the catalog's encoder supports text.
 * @param {string[]} facets attributes to count as well.
 */
export function fetchResults(query, { cursor = null, supportsText = true, facets = [], signal } = {}) {
  const browsing = modalityOf(query) === "browse";
  const options = { ...filterParams(query), limit: PAGE_SIZE, rerank: query.order !== "similar" };
  options.max_per_category = browsing ? BROWSE_CAP : query.variety ? VARIETY_CAP : 0;
  if (query.order !== "best" && query.order !== "similar") options.sort = query.order;
  if (cursor) options.cursor = cursor;
  if (facets.length) options.facets = facets;
  return search(query, options, supportsText, signal);
}

/**
 * Fetch how many products have each value of some attributes, under the query's filters: Map from name to counts.
 *
 * Values of one attribute are alternatives, so an attribute's own filter does not affect its counts. Counts depend only
 * on the filters and on the products that the query excludes, so they are requested with a query that is cheap to encode:
 * example products, or the text that the server has just encoded.
 */
export async function fetchFacetCounts(query, names, supportsText, signal) {
  const options = { ...filterParams(query), limit: 1, rerank: false, multi_select: true, facets: names };
  const cheapQuery = { ...query, album: "", text: query.like.length ? "" : query.text };
  const answer = await search(cheapQuery, options, supportsText, signal);
  return new Map(Object.entries(answer.facets));
}

/** Search through the most specific route, because the server counts searches by route. */
async function search(query, options, supportsText, signal) {
  const { like, unlike } = query;
  let [text, album] = [query.text, albumOf(query)];
  if (modalityOf(query) === "browse") {
    // A neutral query: the shop's own signals decide the order, spread over the categories. An encoder without text gets
    // a blank picture instead.
    if (supportsText) text = NEUTRAL_TEXT;
    else album = { pictures: [{ file: await blankPicture() }], crop: null };
  }
  const parts = [text && "text", album.pictures.length && "images", like.length && "like"].filter(Boolean);
  if (parts.length === 1 && !unlike.length) {
    if (text) return request(`/v1/search/text?${toSearchParams({ q: text, ...options })}`, { signal });
    if (!like.length) return searchByAlbum(album, options, signal);
    if (like.length === 1) return request(`${productPath(like[0])}/similar?${toSearchParams(options)}`, { signal });
  }
  const images = album.pictures.map(async ({ file }) => ({ data: await toDataUrl(file), crop: cropParam(album) }));
  const body = { ...options, images: await Promise.all(images), like, unlike };
  if (text) body.text = text;
  const share = query.balance / 100;
  if (text && parts.length > 1) body.weights = { text: 1 - share, images: share, like: share };
  return postJson("/v1/search", body, { signal });
}

function searchByAlbum(album, options, signal) {
  const body = new FormData();
  for (const { file } of album.pictures) body.append("image", file);
  if (album.crop) body.append("crop", cropParam(album));
  return request(`/v1/search/image?${toSearchParams(options)}`, { method: "POST", body, signal });
}

const cropParam = (album) => album.crop && album.crop.map((edge) => edge.toFixed(4)).join(",");

function toDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new ApiError(0, "A picture can no longer be read: add it again.")));
    reader.readAsDataURL(file);
  });
}

/** A grey gradient as a JPEG file. */
async function blankPicture() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 224;
  const context = canvas.getContext("2d");
  const gradient = context.createLinearGradient(0, 0, 0, 224);
  gradient.addColorStop(0, "#eeeeee");
  gradient.addColorStop(1, "#bbbbbb");
  context.fillStyle = gradient;
  context.fillRect(0, 0, 224, 224);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg"));
}

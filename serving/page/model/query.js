// The query, and its address: the query string holds everything but the pictures themselves.

// Attributes with an API parameter of their own; any other attribute goes through filter=name:value.
const DEDICATED_PARAMETERS = ["category", "brand"];
/** `max_per_category` while "Variety" is switched on. */
export const VARIETY_CAP = 5;
/** Percentage that pictures and products count in a query with text. The API has the same default. */
const DEFAULT_BALANCE = 70;
const MAX_EXAMPLES = 20;

// Pictures are kept until the page is unloaded: key → { pictures, crop }. The address holds the key, so that the back and
// forward buttons work.
const albums = new Map();

/** Store pictures ([{ file, url, name }]) and a crop ([x0, y0, x1, y1] or null), and return their key. */
export function storeAlbum(pictures, crop = null) {
  const key = `${Date.now().toString(36)}${albums.size}`;
  albums.set(key, { pictures, crop });
  return key;
}

export const albumOf = (query) => albums.get(query.album) ?? { pictures: [], crop: null };

/**
 * Parse an address's query string into a query: a plain object that is never changed, only replaced.
 *
 * text, album (key of stored pictures) and like (product ids) say what to search for, unlike (product ids) what to avoid;
 * with none of the first three, the shopper browses.
 * albumExpired: whether the address names pictures that are no longer stored.
 * balance: see DEFAULT_BALANCE.
 * selected: Map from attribute to its selected values, which are alternatives.
 * order: "best", "similar", or a value of the API's `sort`.
 * productId: the product whose dialog is open.
 */
export function parseQuery(queryString) {
  const params = new URLSearchParams(queryString);
  const selected = new Map();
  const select = (name, value) => selected.set(name, [...(selected.get(name) ?? []), value]);
  for (const name of DEDICATED_PARAMETERS) for (const value of params.getAll(name)) select(name, value);
  for (const pair of params.getAll("filter")) {
    const colon = pair.indexOf(":");
    if (colon > 0) select(pair.slice(0, colon), pair.slice(colon + 1));
  }
  const key = params.get("pictures") ?? "";
  const album = albums.has(key) ? key : "";
  const balance = Math.round(Number(params.get("balance") ?? DEFAULT_BALANCE));
  return {
    text: (params.get("q") ?? "").trim(),
    album,
    albumExpired: key !== album, // the page was reloaded, or the address was shared
    like: params.getAll("like").filter(Boolean),
    unlike: params.getAll("unlike").filter(Boolean),
    balance: balance >= 0 && balance <= 100 ? balance : DEFAULT_BALANCE,
    selected,
    priceMin: params.get("price_min") ?? "",
    priceMax: params.get("price_max") ?? "",
    order: params.get("order") ?? "best",
    variety: params.get("max_per_category") === String(VARIETY_CAP),
    productId: params.get("product") ?? "",
  };
}

/** The filters as parameters, which the API and the address name alike. */
export function filterParams(query) {
  const filters = {};
  for (const [name, values] of query.selected) {
    if (DEDICATED_PARAMETERS.includes(name)) filters[name] = values;
    else filters.filter = [...(filters.filter ?? []), ...values.map((value) => `${name}:${value}`)];
  }
  if (query.priceMin !== "") filters.price_min = query.priceMin;
  if (query.priceMax !== "") filters.price_max = query.priceMax;
  return filters;
}

/** Parameters as URLSearchParams; an array repeats its parameter. */
export function toSearchParams(params) {
  const searchParams = new URLSearchParams();
  for (const [name, values] of Object.entries(params)) for (const value of [values].flat()) searchParams.append(name, value);
  return searchParams;
}

export function toUrl(query) {
  const params = {};
  if (query.album) params.pictures = query.album;
  if (query.text) params.q = query.text;
  params.like = query.like;
  params.unlike = query.unlike;
  if (usesBalance(query) && query.balance !== DEFAULT_BALANCE) params.balance = query.balance;
  Object.assign(params, filterParams(query));
  if (query.order !== "best") params.order = query.order;
  if (query.variety) params.max_per_category = VARIETY_CAP;
  if (query.productId) params.product = query.productId;
  const queryString = toSearchParams(params).toString();
  return queryString ? `/?${queryString}` : "/";
}

/** Key of the results: the address without the dialog that may be open over them. */
export const resultKey = (query) => toUrl({ ...query, productId: "" });

/** Whether text is mixed with pictures or products, so that the balance between them matters. */
export const usesBalance = (query) => Boolean(query.text && (query.album || query.like.length));

/** The kind of query: browse, text, image, like; or mixed. Unliked products go with any of them. */
export function modalityOf(query) {
  const parts = [query.text && "text", query.album && "image", query.like.length && "like"].filter(Boolean);
  return parts.length > 1 ? "mixed" : (parts[0] ?? "browse");
}

export const isFiltered = (query) => query.selected.size > 0 || query.priceMin !== "" || query.priceMax !== "";

// ── queries derived from a query ────────────────────────────────────────────────────────────────────────────────────

/** Set the text beside pictures and products. Replacing one text by another starts over: example products are dropped. */
export function withText(query, text) {
  const replaced = query.text && text && query.text !== text;
  return { ...query, text, like: replaced ? [] : query.like, unlike: replaced ? [] : query.unlike, productId: "" };
}

export const withAlbum = (query, album) => ({ ...query, album, productId: "" });

const without = (ids, removed) => ids.filter((id) => id !== removed);
const withExample = (ids, id) => [...without(ids, id), id].slice(-MAX_EXAMPLES);

export const moreLike = (query, id) => ({
  ...query, like: withExample(query.like, id), unlike: without(query.unlike, id), productId: "",
});
export const lessLike = (query, id) => ({
  ...query, like: without(query.like, id), unlike: withExample(query.unlike, id), productId: "",
});
export const withoutExample = (query, id) => ({ ...query, like: without(query.like, id), unlike: without(query.unlike, id) });

export const withProduct = (query, productId) => ({ ...query, productId });

/** Select a value of an attribute, or deselect it if it is selected. */
export function toggleFilter(query, name, value) {
  const before = query.selected.get(name) ?? [];
  const values = before.includes(value) ? before.filter((other) => other !== value) : [...before, value];
  const selected = new Map(query.selected);
  if (values.length) selected.set(name, values);
  else selected.delete(name);
  return { ...query, selected };
}

export const withoutFilters = (query) => ({ ...query, selected: new Map(), priceMin: "", priceMax: "" });

// What is being asked for, and its address: the query string holds everything but the pictures themselves.

// Parameters of their own in the API; any other attribute goes through filter=name:value.
const OWN_PARAMETERS = ["category", "brand"];
const VARIETY = "5";

// Pictures live as long as the page: key → { pictures, crop }. The address holds the key, so back and forward work.
const albums = new Map();

/** Keep pictures ([{ file, url }]) and a crop ([x0, y0, x1, y1] or null) under a new key. */
export function keepAlbum(pictures, crop = null) {
  const key = `${Date.now().toString(36)}${albums.size}`;
  albums.set(key, { pictures, crop });
  return key;
}

export const albumOf = (search) => albums.get(search.pictures) ?? { pictures: [], crop: null };

/**
 * A search is a plain object that is never changed, only replaced.
 *
 * pictures (key of an album), words and like (product id): at most one of them is set; with none the shopper browses.
 * chosen: Map from attribute to the values that are wanted, which are alternatives.
 * product: id of the product whose dialog is open.
 */
export function fromQuery(query) {
  const params = new URLSearchParams(query);
  const chosen = new Map();
  const choose = (name, value) => chosen.set(name, [...(chosen.get(name) ?? []), value]);
  for (const name of OWN_PARAMETERS) for (const value of params.getAll(name)) choose(name, value);
  for (const pair of params.getAll("filter")) {
    const colon = pair.indexOf(":");
    if (colon > 0) choose(pair.slice(0, colon), pair.slice(colon + 1));
  }
  const key = params.get("pictures") ?? "";
  const pictures = albums.has(key) ? key : "";
  const words = pictures ? "" : (params.get("q") ?? "").trim();
  return {
    pictures,
    picturesLost: key !== pictures, // the page was loaded again, or the address was sent to somebody
    words,
    like: pictures || words ? "" : (params.get("like") ?? ""),
    chosen,
    priceMin: params.get("price_min") ?? "",
    priceMax: params.get("price_max") ?? "",
    bySimilarity: params.get("rerank") === "false",
    variety: params.get("max_per_category") === VARIETY,
    product: params.get("product") ?? "",
  };
}

/** The filters, as the API and the address both name them. */
export function filterParams(search) {
  const params = new URLSearchParams();
  for (const [name, values] of search.chosen) {
    for (const value of values) {
      if (OWN_PARAMETERS.includes(name)) params.append(name, value);
      else params.append("filter", `${name}:${value}`);
    }
  }
  if (search.priceMin !== "") params.set("price_min", search.priceMin);
  if (search.priceMax !== "") params.set("price_max", search.priceMax);
  return params;
}

export function toUrl(search) {
  const params = new URLSearchParams();
  if (search.pictures) params.set("pictures", search.pictures);
  if (search.words) params.set("q", search.words);
  if (search.like) params.set("like", search.like);
  for (const [name, value] of filterParams(search)) params.append(name, value);
  if (search.bySimilarity) params.set("rerank", "false");
  if (search.variety) params.set("max_per_category", VARIETY);
  if (search.product) params.set("product", search.product);
  const query = params.toString();
  return query ? `/?${query}` : "/";
}

/** Same key, same results: the address without the dialog that may lie over them. */
export const keyOf = (search) => toUrl({ ...search, product: "" });

export const kindOf = (search) =>
  search.pictures ? "pictures" : search.words ? "words" : search.like ? "like" : "browse";

export const isFiltered = (search) => search.chosen.size > 0 || search.priceMin !== "" || search.priceMax !== "";

// ── other searches, made from one ───────────────────────────────────────────────────────────────────────────────────

// The last thing that was given wins: words and pictures cannot be combined in one search yet.
export const byWords = (search, words) => ({ ...search, pictures: "", words, like: "", product: "" });
export const byPictures = (search, key) => ({ ...search, pictures: key, words: "", like: "", product: "" });
export const byLike = (search, like) => ({ ...search, pictures: "", words: "", like, product: "" });

export const withProduct = (search, product) => ({ ...search, product });

export function toggled(search, name, value) {
  const values = search.chosen.get(name) ?? [];
  const rest = values.includes(value) ? values.filter((each) => each !== value) : [...values, value];
  const chosen = new Map(search.chosen);
  if (rest.length) chosen.set(name, rest);
  else chosen.delete(name);
  return { ...search, chosen };
}

export const unfiltered = (search) => ({ ...search, chosen: new Map(), priceMin: "", priceMax: "" });

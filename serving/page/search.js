// What is being asked for, and its address: the query string holds everything but the pictures themselves.

// Parameters of their own in the API; any other attribute goes through filter=name:value.
const OWN_PARAMETERS = ["category", "brand"];
const VARIETY = "5";
/** Share of pictures and products, in percent, in a search that has words too: what the server takes by itself. */
export const BALANCE = 70;
const MAX_EXAMPLES = 20;

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
 * words, pictures (key of an album) and like (product ids) are what is wanted, and unlike (product ids) what is not; with
 * none of the first three the shopper browses. balance: see BALANCE.
 * chosen: Map from attribute to the values that are wanted, which are alternatives.
 * order: "best", "similar", or what the API calls `sort`.
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
  const balance = Math.round(Number(params.get("balance") ?? BALANCE));
  return {
    words: (params.get("q") ?? "").trim(),
    pictures,
    picturesLost: key !== pictures, // the page was loaded again, or the address was sent to somebody
    like: params.getAll("like").filter(Boolean),
    unlike: params.getAll("unlike").filter(Boolean),
    balance: balance >= 0 && balance <= 100 ? balance : BALANCE,
    chosen,
    priceMin: params.get("price_min") ?? "",
    priceMax: params.get("price_max") ?? "",
    order: params.get("order") ?? "best",
    variety: params.get("max_per_category") === VARIETY,
    product: params.get("product") ?? "",
  };
}

/** The filters, as the API and the address both name them. */
export function filtersOf(search) {
  const filters = {};
  for (const [name, values] of search.chosen) {
    if (OWN_PARAMETERS.includes(name)) filters[name] = values;
    else filters.filter = [...(filters.filter ?? []), ...values.map((value) => `${name}:${value}`)];
  }
  if (search.priceMin !== "") filters.price_min = search.priceMin;
  if (search.priceMax !== "") filters.price_max = search.priceMax;
  return filters;
}

/** As a query string's parameters: a list's values each by themselves. */
export function paramsOf(values) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) for (const each of [value].flat()) params.append(name, each);
  return params;
}

export function toUrl(search) {
  const values = {};
  if (search.pictures) values.pictures = search.pictures;
  if (search.words) values.q = search.words;
  values.like = search.like;
  values.unlike = search.unlike;
  if (isMixed(search) && search.balance !== BALANCE) values.balance = search.balance;
  Object.assign(values, filtersOf(search));
  if (search.order !== "best") values.order = search.order;
  if (search.variety) values.max_per_category = VARIETY;
  if (search.product) values.product = search.product;
  const query = paramsOf(values).toString();
  return query ? `/?${query}` : "/";
}

/** Same key, same results: the address without the dialog that may lie over them. */
export const keyOf = (search) => toUrl({ ...search, product: "" });

/** Words and something to look like: their weights count. */
export const isMixed = (search) => Boolean(search.words && (search.pictures || search.like.length));

/** browse, words, pictures, like; or mixed. What is unliked goes with any of them. */
export function kindOf(search) {
  const parts = [search.words && "words", search.pictures && "pictures", search.like.length && "like"].filter(Boolean);
  return parts.length > 1 ? "mixed" : (parts[0] ?? "browse");
}

export const isFiltered = (search) => search.chosen.size > 0 || search.priceMin !== "" || search.priceMax !== "";

// ── other searches, made from one ───────────────────────────────────────────────────────────────────────────────────

/** Words join the pictures and products that are there. Other words in place of some are a new subject. */
export function byWords(search, words) {
  const anew = search.words && words && search.words !== words;
  return { ...search, words, like: anew ? [] : search.like, unlike: anew ? [] : search.unlike, product: "" };
}

export const byPictures = (search, key) => ({ ...search, pictures: key, product: "" });

const without = (ids, id) => ids.filter((each) => each !== id);
const withOne = (ids, id) => [...without(ids, id), id].slice(-MAX_EXAMPLES);

export const moreLike = (search, id) => ({
  ...search, like: withOne(search.like, id), unlike: without(search.unlike, id), product: "",
});
export const lessLike = (search, id) => ({
  ...search, like: without(search.like, id), unlike: withOne(search.unlike, id), product: "",
});
export const neither = (search, id) => ({ ...search, like: without(search.like, id), unlike: without(search.unlike, id) });

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

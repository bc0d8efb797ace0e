// The filter rail: attributes with their values and counts, the price, and chips for what is chosen.

import { byId, count, h, heading, icon, text } from "./dom.js";
import { isFiltered, toggled, unfiltered } from "./search.js";

// Attributes that are measures or moments, not values to choose among.
const NOT_FACETS = new Set(["price", "popularity_score", "conversion_rate", "avg_rating", "added_at", "updated_at"]);
const FACET_TYPES = new Set(["string", "large_string", "int64", "bool"]);
const MAX_OWN = 6; // of the catalog's own attributes
const MAX_ASKED = 18; // attributes looked into to find those
const MAX_VALUES = 60; // an attribute with more is a description, not a choice
const FEWEST_PRODUCTS = 2; // of a value, on average: with fewer it is a name, not a choice
const SHORT = 6; // values shown before "show all", which is not worth a button for one or two more
const OPEN = 4; // facets that are unfolded at first

const facets = byId("facets");
const chips = byId("chips");
const form = byId("filters");
const [low, high] = [byId("price-min"), byId("price-max")];

let counts = new Map(); // name → [{ value, count }]
const unfolded = new Map(); // name → whether the shopper has it open
const long = new Set(); // names of which all values are shown

/** Attributes worth counting, of a release's columns. A comma or a colon in a name cannot be asked for. */
export function countable(columns) {
  const own = Object.keys(columns).filter(
    (name) => name !== "category" && name !== "brand" && !NOT_FACETS.has(name) && FACET_TYPES.has(columns[name]) && !/[,:]/.test(name),
  );
  return ["category", ...own.slice(0, MAX_ASKED), "brand"];
}

/** Of the attributes that were counted, those to offer. */
export function worthOffering(found) {
  const few = [...found.keys()].filter((name) => {
    const values = found.get(name);
    if (values.some((value) => "below" in value)) return false; // bands of numbers: a range, not values to tick
    if (name === "category" || name === "brand") return values.length > 1;
    const products = values.reduce((sum, value) => sum + value.count, 0);
    return values.length > 1 && values.length <= MAX_VALUES && products >= FEWEST_PRODUCTS * values.length;
  });
  const own = few.filter((name) => name !== "category" && name !== "brand").slice(0, MAX_OWN);
  return few.filter((name) => name === "category" || name === "brand" || own.includes(name));
}

/**
 * @param {() => object} current the search that is shown.
 * @param {(search: object) => void} ask called with the same search under other filters.
 */
export function wireFilters(current, ask) {
  const applyPrice = () => {
    const wrong = low.value !== "" && high.value !== "" && Number(low.value) > Number(high.value);
    high.setCustomValidity(wrong ? "This is below the lowest price." : "");
    if (form.reportValidity()) ask({ ...current(), priceMin: low.value, priceMax: high.value });
  };
  low.addEventListener("change", applyPrice);
  high.addEventListener("change", applyPrice);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    applyPrice();
  });
  facets.addEventListener("change", (event) => {
    const { name, value } = event.target;
    ask(toggled(current(), name, value));
  });
  byId("drawer-clear").addEventListener("click", () => ask(unfiltered(current())));
  placeFilters();
}

/** Beside the results where there is room, else in a drawer over them. */
function placeFilters() {
  const drawer = byId("drawer");
  const wide = window.matchMedia("(min-width: 56rem)");
  const place = () => {
    if (wide.matches) drawer.close();
    byId(wide.matches ? "rail" : "drawer-body").append(form);
  };
  wide.addEventListener("change", place);
  byId("open-filters").addEventListener("click", () => drawer.showModal());
  place();
}

export function setCounts(found) {
  counts = new Map([...counts, ...found]);
}

export function renderFilters(search, names, ask) {
  const focused = document.activeElement?.dataset?.key;
  facets.replaceChildren(...names.map((name, place) => facet(name, place, search)));
  // The box that was just ticked is a new one now; the focus stays on it.
  if (focused) facets.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  if (document.activeElement !== low) low.value = search.priceMin;
  if (document.activeElement !== high) high.value = search.priceMax;
  renderChips(search, ask);
}

function facet(name, place, search) {
  const chosen = search.chosen.get(name) ?? [];
  const values = (counts.get(name) ?? []).map((each) => ({ ...each, key: String(each.value) }));
  // A chosen value that no product has any more must still be there to be unchosen.
  for (const key of chosen) if (!values.some((each) => each.key === key)) values.unshift({ value: key, count: 0, key });
  const all = long.has(name) || values.length <= SHORT + 2;
  const shown = all ? values : values.filter((each, at) => at < SHORT || chosen.includes(each.key));
  const list = h("ul", { role: "list" }, shown.map((each) => option(name, each, chosen.includes(each.key))));
  const details = h(
    "details",
    {
      class: "facet",
      open: unfolded.get(name) ?? (place < OPEN || chosen.length > 0),
      ontoggle: () => unfolded.set(name, details.open),
    },
    h("summary", { "data-key": `${name}\n` }, heading(name), chosen.length > 0 && h("span", { class: "badge" }, String(chosen.length))),
    list,
  );
  if (shown.length < values.length) {
    const button = h("button", { class: "plain", type: "button" }, `Show all ${count(values.length)}`);
    button.addEventListener("click", () => {
      long.add(name);
      const longer = facet(name, place, search);
      details.replaceWith(longer);
      longer.querySelectorAll("input")[SHORT]?.focus();
    });
    details.append(button);
  }
  return details;
}

function option(name, { value, count: products, key }, checked) {
  const box = h("input", { type: "checkbox", name, value: key, "data-key": `${name}\n${key}` });
  box.checked = checked;
  const label = h("label", { class: products ? null : "none" }, box);
  const colour = /colou?r/i.test(name) && key.toLowerCase().replaceAll(" ", "");
  if (colour && CSS.supports("color", colour)) {
    const swatch = h("span", { class: "swatch" });
    swatch.style.setProperty("background", colour);
    label.append(swatch);
  }
  label.append(h("span", { class: "value" }, text(value)), h("span", { class: "n" }, count(products)));
  return h("li", {}, label);
}

function renderChips(search, ask) {
  const focused = chips.contains(document.activeElement);
  chips.hidden = !isFiltered(search);
  byId("drawer-clear").disabled = chips.hidden;
  const made = [...search.chosen].flatMap(([name, values]) =>
    values.map((value) => chip(heading(name), value, () => ask(toggled(search, name, value)))),
  );
  if (search.priceMin !== "") made.push(chip("Price", `from ${search.priceMin}`, () => ask({ ...search, priceMin: "" })));
  if (search.priceMax !== "") made.push(chip("Price", `up to ${search.priceMax}`, () => ask({ ...search, priceMax: "" })));
  const clear = h("button", { class: "plain", type: "button", onclick: () => ask(unfiltered(search)) }, "Clear all");
  const chosen = made.length;
  byId("open-filters").querySelector("span").textContent = chosen ? `Filters (${chosen})` : "Filters";
  chips.replaceChildren(...made, clear);
  if (focused) (chips.hidden ? byId("results") : chips.firstChild).focus({ preventScroll: true });
}

const chip = (name, value, remove) =>
  h(
    "button",
    { class: "chip", type: "button", onclick: remove, "aria-label": `Remove ${name} ${value}` },
    h("small", {}, name),
    ` ${value}`,
    icon("close"),
  );

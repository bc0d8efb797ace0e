// The filter rail: facets with their values and counts, the price range, and chips for the active filters.

import { facetCounts } from "../model/facets.js";
import { isFiltered, toggleFilter, withoutFilters } from "../model/query.js";
import { byId, h, icon } from "./dom.js";
import { columnLabel, formatNumber, formatValue } from "./format.js";

const SHORT_LIST = 6; // values shown before "Show all"
const SHORT_LIST_SLACK = 2; // a button is not worth it for one or two more values
const INITIALLY_OPEN = 4; // facets that start expanded

const facets = byId("facets");
const chips = byId("chips");
const form = byId("filters");
const [priceMin, priceMax] = [byId("price-min"), byId("price-max")];

const expanded = new Map(); // facet name → whether the shopper has it open
const fullLists = new Set(); // names of the facets that show all their values

/**
 * Connect the rail's controls.
 *
 * @param {() => object} currentQuery returns the query being shown.
 * @param {(query: object) => void} navigate called with that query and changed filters.
 */
export function wireFilters(currentQuery, navigate) {
  const applyPrice = () => {
    const inverted = priceMin.value !== "" && priceMax.value !== "" && Number(priceMin.value) > Number(priceMax.value);
    priceMax.setCustomValidity(inverted ? "This is below the lowest price." : "");
    if (form.reportValidity()) navigate({ ...currentQuery(), priceMin: priceMin.value, priceMax: priceMax.value });
  };
  priceMin.addEventListener("change", applyPrice);
  priceMax.addEventListener("change", applyPrice);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    applyPrice();
  });
  facets.addEventListener("change", (event) => {
    const { name, value } = event.target;
    navigate(toggleFilter(currentQuery(), name, value));
  });
  byId("drawer-clear").addEventListener("click", () => navigate(withoutFilters(currentQuery())));
  placeForm();
}

/** Place the form beside the results if the window is wide enough, else in the drawer. */
function placeForm() {
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

export function renderFilters(query, facetNames, navigate) {
  const focusedKey = document.activeElement?.dataset?.focusKey;
  facets.replaceChildren(...facetNames.map((name, index) => facet(name, index, query)));
  // The focused checkbox was replaced: focus its successor.
  if (focusedKey) facets.querySelector(`[data-focus-key="${CSS.escape(focusedKey)}"]`)?.focus();
  if (document.activeElement !== priceMin) priceMin.value = query.priceMin;
  if (document.activeElement !== priceMax) priceMax.value = query.priceMax;
  renderChips(query, navigate);
}

function facet(name, index, query) {
  const selected = query.selected.get(name) ?? [];
  const values = facetCounts(name).map((facetValue) => ({ ...facetValue, key: String(facetValue.value) }));
  // A selected value that no product has any more must stay visible, so that it can be deselected.
  for (const key of selected) if (!values.some((value) => value.key === key)) values.unshift({ value: key, count: 0, key });
  const showAll = fullLists.has(name) || values.length <= SHORT_LIST + SHORT_LIST_SLACK;
  const visible = showAll ? values : values.filter(({ key }, position) => position < SHORT_LIST || selected.includes(key));
  const list = h("ul", { role: "list" }, visible.map((value) => option(name, value, selected.includes(value.key))));
  const details = h(
    "details",
    {
      class: "facet",
      open: expanded.get(name) ?? (index < INITIALLY_OPEN || selected.length > 0),
      ontoggle: () => expanded.set(name, details.open),
    },
    h(
      "summary",
      { "data-focus-key": `${name}\n` },
      columnLabel(name),
      selected.length > 0 && h("span", { class: "badge" }, String(selected.length)),
    ),
    list,
  );
  if (visible.length < values.length) {
    const button = h("button", { class: "link-button", type: "button" }, `Show all ${formatNumber(values.length)}`);
    button.addEventListener("click", () => {
      fullLists.add(name);
      const full = facet(name, index, query);
      details.replaceWith(full);
      full.querySelectorAll("input")[SHORT_LIST]?.focus();
    });
    details.append(button);
  }
  return details;
}

function option(name, { value, count, key }, checked) {
  const checkbox = h("input", { type: "checkbox", name, value: key, "data-focus-key": `${name}\n${key}` });
  checkbox.checked = checked;
  const label = h("label", { class: count ? null : "no-products" }, checkbox);
  const colour = /colou?r/i.test(name) && key.toLowerCase().replaceAll(" ", "");
  if (colour && CSS.supports("color", colour)) {
    const swatch = h("span", { class: "swatch" });
    swatch.style.setProperty("background", colour);
    label.append(swatch);
  }
  label.append(h("span", { class: "value" }, formatValue(value)), h("span", { class: "value-count" }, formatNumber(count)));
  return h("li", {}, label);
}

function renderChips(query, navigate) {
  const hadFocus = chips.contains(document.activeElement);
  chips.hidden = !isFiltered(query);
  byId("drawer-clear").disabled = chips.hidden;
  const active = [...query.selected].flatMap(([name, values]) =>
    values.map((value) => chip(columnLabel(name), value, () => navigate(toggleFilter(query, name, value)))),
  );
  if (query.priceMin !== "") active.push(chip("Price", `from ${query.priceMin}`, () => navigate({ ...query, priceMin: "" })));
  if (query.priceMax !== "") active.push(chip("Price", `up to ${query.priceMax}`, () => navigate({ ...query, priceMax: "" })));
  const clear = h("button", { class: "link-button", type: "button", onclick: () => navigate(withoutFilters(query)) }, "Clear all");
  byId("open-filters").querySelector("span").textContent = active.length ? `Filters (${active.length})` : "Filters";
  chips.replaceChildren(...active, clear);
  if (hadFocus) (chips.hidden ? byId("results") : chips.firstChild).focus({ preventScroll: true });
}

const chip = (name, value, remove) =>
  h(
    "button",
    { class: "chip", type: "button", onclick: remove, "aria-label": `Remove ${name} ${value}` },
    h("small", {}, name),
    ` ${value}`,
    icon("close"),
  );

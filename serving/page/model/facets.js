// Facets: which attributes are worth filtering by, and how many products have each of their values.

const BUILT_IN = ["category", "brand"];
// Built-in columns that are measures or dates, not values to choose from.
const NOT_FACETS = new Set(["price", "popularity_score", "conversion_rate", "avg_rating", "added_at", "updated_at"]);
const FACET_TYPES = new Set(["string", "large_string", "int64", "bool"]);
const MAX_CUSTOM_FACETS = 6; // of the catalog's own attributes
const MAX_CANDIDATES = 18; // attributes that are counted to find those
const MAX_VALUES = 60; // an attribute with more values is a description, not a choice
const MIN_PRODUCTS_PER_VALUE = 2; // on average: an attribute with fewer is a name, not a choice

let counts = new Map(); // name → [{ value, count }]

/** Select the attributes to count, from a release's columns ({ name: type }). Names with a comma or colon cannot be requested. */
export function facetCandidates(columns) {
  const custom = Object.keys(columns).filter(
    (name) => !BUILT_IN.includes(name) && !NOT_FACETS.has(name) && FACET_TYPES.has(columns[name]) && !/[,:]/.test(name),
  );
  return ["category", ...custom.slice(0, MAX_CANDIDATES), "brand"];
}

/** Select the attributes to show in the filter rail, from their counts (Map from name to [{ value, count }]). */
export function selectFacets(candidates) {
  const choices = [...candidates.keys()].filter((name) => isChoice(name, candidates.get(name)));
  const custom = choices.filter((name) => !BUILT_IN.includes(name)).slice(0, MAX_CUSTOM_FACETS);
  return choices.filter((name) => BUILT_IN.includes(name) || custom.includes(name));
}

function isChoice(name, values) {
  if (values.some((value) => "below" in value)) return false; // bands of numbers are a range, not values to tick
  if (BUILT_IN.includes(name)) return values.length > 1;
  const products = values.reduce((sum, value) => sum + value.count, 0);
  return values.length > 1 && values.length <= MAX_VALUES && products >= MIN_PRODUCTS_PER_VALUE * values.length;
}

/** Replace the counts of the attributes in `updated`; other attributes keep theirs. */
export function updateFacetCounts(updated) {
  counts = new Map([...counts, ...updated]);
}

export const facetCounts = (name) => counts.get(name) ?? [];

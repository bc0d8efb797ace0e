// The catalog being served: its release, the attributes to filter by, and the first page of products.

import * as api from "./api.js";
import { facetCandidates, selectFacets, updateFacetCounts } from "./facets.js";
import { parseQuery, withoutFilters } from "./query.js";

let catalog = null; // promise of { release, facetNames, answer }
let onLoad = () => {};

/** Call `listener` whenever a catalog has been loaded. */
export function onCatalogLoad(listener) {
  onLoad = listener;
}

/** Load the catalog once: { release, facetNames: attributes for the filter rail, answer: the first page of products }. */
export function getCatalog() {
  if (!catalog) {
    const loading = load();
    catalog = loading;
    loading.then(onLoad, () => {
      if (catalog === loading) catalog = null; // the next call tries again
    });
  }
  return catalog;
}

/** Return the catalog if it is loaded or loading, else null; never rejects. */
export const peekCatalog = async () => (catalog ? catalog.catch(() => null) : null);

async function load() {
  const release = await api.fetchRelease();
  const facets = facetCandidates(release.columns);
  const answer = await api.fetchResults(withoutFilters(parseQuery("")), { supportsText: release.supports_text, facets });
  const counts = new Map(Object.entries(answer.facets));
  updateFacetCounts(counts);
  return { release, facetNames: selectFacets(counts), answer };
}

/** Reload the catalog if an answer came from another release, whose attributes may differ. */
export async function noteRelease(version) {
  const loaded = await peekCatalog();
  if (!loaded || loaded.release.version === version) return;
  catalog = null;
  getCatalog().catch(() => {}); // the page keeps what it has
}

// What is being served: the release, the attributes that can be chosen, and products to begin with.

import * as api from "./api.js";
import { countable, setCounts, worthOffering } from "./filters.js";
import { fromQuery, unfiltered } from "./search.js";

let catalog = null; // promise of { release, offered, answer }
let loaded = () => {};

/** `listener` is called whenever a catalog has been loaded. */
export function whenLoaded(listener) {
  loaded = listener;
}

/** { release, offered: attributes for the rail, answer: the first page of what there is }; asked for once. */
export function getCatalog() {
  if (!catalog) {
    const asked = load();
    catalog = asked;
    asked.then(loaded, () => {
      if (catalog === asked) catalog = null; // the next one who needs it asks again
    });
  }
  return catalog;
}

/** The catalog if it is there or on its way, else null; never an error. */
export const catalogSoFar = async () => (catalog ? catalog.catch(() => null) : null);

async function load() {
  const release = await api.release();
  const facets = countable(release.columns);
  const answer = await api.results(unfiltered(fromQuery("")), { supportsText: release.supports_text, facets });
  const found = new Map(Object.entries(answer.facets));
  setCounts(found);
  return { release, offered: worthOffering(found), answer };
}

/** An answer came from another release than the page began with: its attributes may be others, too. */
export async function noteRelease(version) {
  const there = await catalogSoFar();
  if (!there || there.release.version === version) return;
  catalog = null;
  getCatalog().catch(() => {}); // the page goes on with what it had
}

// The heading above the results and the title of the browser tab.

import { albumOf, isFiltered, modalityOf } from "../model/query.js";
import { byId } from "./dom.js";
import { displayName } from "./format.js";

export function renderHeading(query, knownProducts) {
  const heading = headingOf(query);
  byId("results-heading").textContent = heading;
  const single = query.like.length === 1 && modalityOf(query) === "like" && knownProducts.get(query.like[0]);
  const title = single ? `More like ${displayName(single)}` : heading;
  document.title = modalityOf(query) === "browse" ? "Lookalike" : `${title} – Lookalike`;
}

function headingOf(query) {
  const { text, like } = query;
  const pictures = describePictures(albumOf(query));
  // Product names are in the tray: a name that arrives later would shift what is below the heading.
  const products = like.length > 1 ? `these ${like.length}` : like.length ? "this one" : "";
  const examples = [pictures, products].filter(Boolean).join(" and ");
  if (text) return examples ? `“${text}”, like ${examples}` : `Results for “${text}”`;
  if (examples) return pictures ? `Like ${examples}` : `More like ${examples}`;
  return isFiltered(query) || query.unlike.length ? "Browsing" : "Take a look around";
}

function describePictures({ pictures, crop }) {
  if (crop) return "that part of your picture";
  if (pictures.length > 1) return `your ${pictures.length} pictures`;
  return pictures.length ? "your picture" : "";
}

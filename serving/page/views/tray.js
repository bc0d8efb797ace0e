// The tray under the search field: the query's pictures and example products, and their balance with the text.

import { albumOf, storeAlbum, usesBalance, withAlbum, withoutExample } from "../model/query.js";
import { chooseCrop } from "./crop.js";
import { byId, framedPicture, h, icon } from "./dom.js";
import { displayName } from "./format.js";
import { MAX_PICTURES } from "./picture-input.js";

const tray = byId("tray");

/**
 * Show the query's pictures and example products.
 *
 * @param {Map<string, object>} knownProducts by id; a product that is missing is shown without its name.
 * @param {(query: object) => void} navigate called with the query after a change in the tray.
 */
export function renderTray(query, knownProducts, navigate) {
  const focused = tray.contains(document.activeElement) && (document.activeElement.id || "button without an id");
  const items = [
    ...pictureItems(query, navigate),
    ...query.like.map((id) => productItem(query, id, knownProducts.get(id), "More like", navigate)),
    ...query.unlike.map((id) => productItem(query, id, knownProducts.get(id), "Less like", navigate)),
  ];
  if (usesBalance(query)) items.push(balanceItem(query, navigate));
  tray.hidden = items.length === 0;
  tray.replaceChildren(...items);
  // The focused element was replaced: focus its successor.
  if (focused) (byId(focused) ?? tray.querySelector("button") ?? byId("query-text")).focus({ preventScroll: true });
}

const removeButton = (label, onclick) =>
  h("button", { class: "remove-button", type: "button", "aria-label": label, onclick }, icon("close"));

function productItem(query, id, product, label, navigate) {
  const name = product ? displayName(product) : "…";
  const frame = product ? framedPicture(product.image_url, { lazy: false }) : h("span", { class: "frame" });
  const remove = removeButton(`Remove: ${label} ${product ? name : id}`, () => navigate(withoutExample(query, id)));
  const classes = label === "Less like" ? "tray-item wide unlike" : "tray-item wide";
  return h("div", { class: classes }, frame, h("span", {}, h("small", {}, label), h("b", {}, name)), remove);
}

/** A slider for the share of pictures and products; the text gets the rest. */
function balanceItem(query, navigate) {
  const describe = (share) => `${share}% ${query.album ? "pictures" : "products"}, ${100 - share}% words`;
  const slider = h("input", {
    id: "balance", type: "range", min: 0, max: 100, step: 10, value: query.balance, "aria-label": "Words or looks",
    "aria-valuetext": describe(query.balance), title: describe(query.balance),
    oninput: () => slider.setAttribute("aria-valuetext", describe(Number(slider.value))),
    onchange: () => navigate({ ...query, balance: Number(slider.value) }),
  });
  return h("div", { class: "balance" }, h("span", {}, "Words"), slider, h("span", {}, query.album ? "Pictures" : "Products"));
}

function pictureItems(query, navigate) {
  const { pictures } = albumOf(query);
  const items = pictures.map((picture, index) => pictureItem(query, picture, index, navigate));
  if (pictures.length && pictures.length < MAX_PICTURES) {
    const attributes = { class: "tray-add", for: "file-input", title: "Add another picture" };
    items.push(h("label", attributes, icon("plus"), h("span", {}, "Add")));
  }
  return items;
}

function pictureItem(query, picture, index, navigate) {
  const { pictures, crop } = albumOf(query);
  const preview = framedPicture(picture.url, { alt: picture.name, lazy: false });
  const remaining = pictures.filter((other) => other !== picture);
  const remove = removeButton(`Remove picture ${index + 1}`, () =>
    navigate(withAlbum(query, remaining.length ? storeAlbum(remaining) : "")),
  );
  const item = h("div", { class: "tray-item" }, preview, remove);
  if (pictures.length > 1) return item;
  // A single picture can be cropped.
  const changeCrop = async () => {
    const chosen = await chooseCrop(picture.url, crop);
    if (chosen !== undefined) navigate(withAlbum(query, storeAlbum(pictures, chosen)));
  };
  const label = crop ? "Change the part" : "Choose a part";
  const cropButton = h("button", { class: "button", type: "button", onclick: changeCrop }, icon("crop"), label);
  // The server reads TIFF, browsers do not, and without a preview there is nothing to crop.
  preview.firstChild.addEventListener("error", () => cropButton.remove());
  item.classList.add("wide");
  item.insertBefore(cropButton, remove);
  if (crop) preview.append(cropMark(crop));
  return item;
}

function cropMark([left, top, right, bottom]) {
  const mark = h("span", { class: "crop-mark" });
  mark.style.setProperty("inset", `${top * 100}% ${(1 - right) * 100}% ${(1 - bottom) * 100}% ${left * 100}%`);
  return mark;
}

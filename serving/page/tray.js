// The tray under the search field: pictures and products that are searched with, and how much they count beside words.

import { askCrop } from "./crop.js";
import { byId, h, icon, nameOf, picture } from "./dom.js";
import { MAX_PICTURES } from "./pictures.js";
import { albumOf, byPictures, isMixed, keepAlbum, neither } from "./search.js";

const tray = byId("tray");

/**
 * Show what is searched with.
 *
 * @param {Map<string, object>} known products by their id; one that is not in there yet is shown without its name.
 * @param {(search: object) => void} ask called with a search by what is left, or weighed otherwise.
 */
export function renderTray(search, known, ask) {
  const focused = tray.contains(document.activeElement) && (document.activeElement.id || "a button");
  const items = [
    ...pictureItems(search, ask),
    ...search.like.map((id) => productItem(search, id, known.get(id), "More like", ask)),
    ...search.unlike.map((id) => productItem(search, id, known.get(id), "Less like", ask)),
  ];
  if (isMixed(search)) items.push(balanceItem(search, ask));
  tray.hidden = items.length === 0;
  tray.replaceChildren(...items);
  // What had the focus is another element now.
  if (focused) (byId(focused) ?? tray.querySelector("button") ?? byId("words")).focus({ preventScroll: true });
}

const removeButton = (label, onclick) =>
  h("button", { class: "chip-close", type: "button", "aria-label": label, onclick }, icon("close"));

function productItem(search, id, product, label, ask) {
  const name = product ? nameOf(product) : "…";
  const frame = product ? picture(product.image_url, { lazy: false }) : h("span", { class: "frame" });
  const remove = removeButton(`Take back: ${label} ${product ? name : id}`, () => ask(neither(search, id)));
  const kind = label === "Less like" ? "tray-item wide unlike" : "tray-item wide";
  return h("div", { class: kind }, frame, h("span", {}, h("small", {}, label), h("b", {}, name)), remove);
}

/** How much the pictures and products count, and the words the rest. */
function balanceItem(search, ask) {
  const told = (share) => `${share} % ${search.pictures ? "pictures" : "products"}, ${100 - share} % words`;
  const slider = h("input", {
    id: "balance", type: "range", min: 0, max: 100, step: 10, value: search.balance, "aria-label": "Words or looks",
    "aria-valuetext": told(search.balance), title: told(search.balance),
    oninput: () => slider.setAttribute("aria-valuetext", told(Number(slider.value))),
    onchange: () => ask({ ...search, balance: Number(slider.value) }),
  });
  return h("div", { class: "balance" }, h("span", {}, "Words"), slider, h("span", {}, search.pictures ? "Pictures" : "Products"));
}

function pictureItems(search, ask) {
  const { pictures, crop } = albumOf(search);
  const items = pictures.map((each, number) => pictureItem(search, pictures, each, number, crop, ask));
  if (pictures.length && pictures.length < MAX_PICTURES) {
    items.push(h("label", { class: "tray-add", for: "choose", title: "Add another picture" }, icon("plus"), h("span", {}, "Add")));
  }
  return items;
}

function pictureItem(search, pictures, each, number, crop, ask) {
  const thumb = picture(each.url, { alt: each.name, lazy: false });
  const removed = pictures.filter((other) => other !== each);
  const remove = removeButton(`Remove picture ${number + 1}`, () =>
    ask(byPictures(search, removed.length ? keepAlbum(removed) : "")),
  );
  const item = h("div", { class: "tray-item" }, thumb, remove);
  if (pictures.length > 1) return item;
  const cut = async () => {
    const wanted = await askCrop(each.url, crop);
    if (wanted !== undefined) ask(byPictures(search, keepAlbum(pictures, wanted)));
  };
  const label = crop ? "A part of it" : "Choose a part";
  item.classList.add("wide");
  const button = h("button", { class: "button", type: "button", onclick: cut }, icon("crop"), label);
  thumb.firstChild.addEventListener("error", () => button.remove()); // TIFF: the server reads it, browsers do not
  item.insertBefore(button, remove);
  if (crop) thumb.append(cropMark(crop));
  return item;
}

function cropMark([left, top, right, bottom]) {
  const mark = h("span", { class: "crop-mark" });
  mark.style.setProperty("inset", `${top * 100}% ${(1 - right) * 100}% ${(1 - bottom) * 100}% ${left * 100}%`);
  return mark;
}

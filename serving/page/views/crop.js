// The crop dialog: choosing a part of a picture by drawing a box, or by moving its four edges with sliders.

import { byId } from "./dom.js";

const WHOLE_PICTURE = [0, 0, 1, 1];
const MIN_SIDE = 0.05; // as a share of the picture; a smaller box is an accidental drag

const dialog = byId("crop");
const stage = byId("crop-stage");
const box = byId("crop-box");
const sliders = [0, 1, 2, 3].map((edge) => byId(`crop-edge-${edge}`)); // left, top, right, bottom

let crop = WHOLE_PICTURE;
let dragStart = null; // [x, y] where the box being drawn began
let resolveCrop = () => {};

/**
 * Ask the shopper for a part of a picture.
 *
 * @param {number[] | null} current the current crop; null for the whole picture.
 * @returns {Promise<number[] | null | undefined>} [x0, y0, x1, y1] from 0 to 1, null for the whole picture, undefined for
 *   no change.
 */
export function chooseCrop(url, current) {
  byId("crop-picture").src = url;
  setCrop(current ?? WHOLE_PICTURE);
  dialog.showModal();
  return new Promise((resolve) => (resolveCrop = resolve));
}

function setCrop(edges) {
  crop = edges;
  const [left, top, right, bottom] = crop.map((edge) => `${edge * 100}%`);
  box.style.setProperty("left", left);
  box.style.setProperty("top", top);
  box.style.setProperty("width", `calc(${right} - ${left})`);
  box.style.setProperty("height", `calc(${bottom} - ${top})`);
  sliders.forEach((slider, edge) => (slider.value = Math.round(crop[edge] * 100)));
}

function moveEdge(edge) {
  const edges = [...crop];
  const position = sliders[edge].value / 100;
  // An edge stops before the opposite one.
  edges[edge] = edge < 2 ? Math.min(position, crop[edge + 2] - MIN_SIDE) : Math.max(position, crop[edge - 2] + MIN_SIDE);
  setCrop(edges);
}

/** The pointer's position in the picture: [x, y] from 0 to 1. */
function pointerPosition(event) {
  const frame = stage.getBoundingClientRect();
  const share = (value, start, size) => Math.min(1, Math.max(0, (value - start) / size));
  return [share(event.clientX, frame.left, frame.width), share(event.clientY, frame.top, frame.height)];
}

function drawBox(event) {
  if (!dragStart) return;
  const [x, y] = pointerPosition(event);
  const [startX, startY] = dragStart;
  if (Math.abs(x - startX) < MIN_SIDE || Math.abs(y - startY) < MIN_SIDE) return;
  setCrop([Math.min(x, startX), Math.min(y, startY), Math.max(x, startX), Math.max(y, startY)]);
}

function finish(chosen) {
  resolveCrop(chosen);
  dialog.close();
}

stage.addEventListener("pointerdown", (event) => {
  dragStart = pointerPosition(event);
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", drawBox);
stage.addEventListener("pointerup", () => (dragStart = null));
stage.addEventListener("pointercancel", () => (dragStart = null));
sliders.forEach((slider, edge) => slider.addEventListener("input", () => moveEdge(edge)));
byId("crop-use").addEventListener("click", () => {
  const whole = crop.every((edge, index) => edge === WHOLE_PICTURE[index]);
  finish(whole ? null : crop);
});
byId("crop-whole").addEventListener("click", () => finish(null));
dialog.addEventListener("close", () => resolveCrop(undefined)); // without effect on a promise that is resolved already

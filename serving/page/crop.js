// Choosing a part of a picture: by drawing a box on it, or by moving its four edges with sliders.

import { byId } from "./dom.js";

const WHOLE = [0, 0, 1, 1];
const LEAST = 0.05; // of a side; anything smaller is a slip of the hand

const dialog = byId("crop");
const stage = byId("stage");
const box = byId("box");
const edges = [0, 1, 2, 3].map((edge) => byId(`edge-${edge}`));

let crop = WHOLE;
let corner = null; // where a box that is being drawn began
let done = () => {};

/** Ask for a part of a picture: [x0, y0, x1, y1] from 0 to 1, null for all of it, undefined for no change. */
export function askCrop(url, current) {
  byId("crop-picture").src = url;
  set(current ?? WHOLE);
  dialog.showModal();
  return new Promise((resolve) => (done = resolve));
}

function set(wanted) {
  crop = wanted;
  const [left, top, right, bottom] = crop.map((edge) => `${edge * 100}%`);
  box.style.setProperty("left", left);
  box.style.setProperty("top", top);
  box.style.setProperty("width", `calc(${right} - ${left})`);
  box.style.setProperty("height", `calc(${bottom} - ${top})`);
  edges.forEach((slider, edge) => (slider.value = Math.round(crop[edge] * 100)));
}

function moveEdge(edge) {
  const moved = [...crop];
  moved[edge] = edges[edge].value / 100;
  // An edge stops before the one it faces.
  moved[edge] = edge < 2 ? Math.min(moved[edge], crop[edge + 2] - LEAST) : Math.max(moved[edge], crop[edge - 2] + LEAST);
  set(moved);
}

function pointAt(event) {
  const frame = stage.getBoundingClientRect();
  const part = (value, start, size) => Math.min(1, Math.max(0, (value - start) / size));
  return [part(event.clientX, frame.left, frame.width), part(event.clientY, frame.top, frame.height)];
}

function draw(event) {
  if (!corner) return;
  const [x, y] = pointAt(event);
  const [fromX, fromY] = corner;
  if (Math.abs(x - fromX) < LEAST || Math.abs(y - fromY) < LEAST) return;
  set([Math.min(x, fromX), Math.min(y, fromY), Math.max(x, fromX), Math.max(y, fromY)]);
}

function finish(answer) {
  done(answer);
  dialog.close();
}

stage.addEventListener("pointerdown", (event) => {
  corner = pointAt(event);
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", draw);
stage.addEventListener("pointerup", () => (corner = null));
stage.addEventListener("pointercancel", () => (corner = null));
edges.forEach((slider, edge) => slider.addEventListener("input", () => moveEdge(edge)));
byId("crop-use").addEventListener("click", () => finish(crop.every((edge, at) => edge === WHOLE[at]) ? null : crop));
byId("crop-whole").addEventListener("click", () => finish(null));
dialog.addEventListener("close", () => done(undefined)); // a promise that has its answer ignores this one

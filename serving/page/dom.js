// Making elements and writing values for people.

/** An element: attributes by name (true: present; false or null: absent), "on…" as listeners, then its children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

/** One of the symbols at the top of index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A picture that fades in when it has come, in a frame that has its size before. A missing one says so. */
export function picture(url, { alt = "", lazy = true } = {}) {
  const image = h("img", { alt, loading: lazy && "lazy", decoding: "async", draggable: "false" });
  const frame = h("span", { class: "frame" }, image);
  image.addEventListener("load", () => frame.classList.add("here"));
  image.addEventListener("error", () => frame.classList.add("missing"));
  image.src = url;
  return frame;
}

const money = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat();

export const price = (value) => money.format(value);
export const count = (value) => whole.format(value);
export const products = (value) => `${whole.format(value)} ${value === 1 ? "product" : "products"}`;

/** A column's name as a heading: care_label → Care label. */
export function heading(name) {
  const words = name.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A value of any column as text. */
export function text(value) {
  if (value === true) return "yes";
  if (value === false) return "no";
  return typeof value === "number" ? whole.format(value) : String(value);
}

export const nameOf = (product) => product.title || product.product_id;

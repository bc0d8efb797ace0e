// Creating elements.

export const byId = (id) => document.getElementById(id);

/**
 * Create an element.
 *
 * @param {object} attributes true sets an attribute without a value, false and null omit it; "on…" adds a listener.
 * @param {...(Node | string | Array | null | false)} children null and false are omitted.
 */
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

const SVG = "http://www.w3.org/2000/svg";

/** Create an icon from one of the symbols at the top of index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Create a picture that fades in once loaded, in a frame of its final size; the frame says so if the picture is missing. */
export function framedPicture(url, { alt = "", lazy = true } = {}) {
  const image = h("img", { alt, loading: lazy && "lazy", decoding: "async", draggable: "false" });
  const frame = h("span", { class: "frame" }, image);
  image.addEventListener("load", () => frame.classList.add("loaded"));
  image.addEventListener("error", () => frame.classList.add("missing"));
  image.src = url;
  return frame;
}

// Pictures to search by: chosen from files, dropped or pasted, with limits on their number and size.

import { albumOf, storeAlbum, withAlbum } from "../model/query.js";
import { byId } from "./dom.js";

export const MAX_PICTURES = 8;
// The server accepts 10 MB per picture. Larger ones are scaled down, which loses nothing: the server uses 2,048 px at most.
const MAX_BYTES = 8_000_000;
const MAX_SIDE = 2048;

const overlay = byId("drop-overlay");
const fileInput = byId("file-input");

/**
 * Accept pictures from the file dialog, drag and drop, and the clipboard.
 *
 * @param {() => object} currentQuery returns the query being shown.
 * @param {(query: object) => void} navigate called with that query and the new pictures.
 * @param {(text: string) => void} notify called with a notice for the shopper.
 */
export function wirePictureInput(currentQuery, navigate, notify) {
  const addFiles = async (files) => {
    const images = files.filter((file) => file.type.startsWith("image/"));
    if (!images.length) return notify("That is not a picture. Use JPEG, PNG, WebP, GIF, BMP or TIFF.");
    const before = albumOf(currentQuery()).pictures;
    const pictures = [...before, ...(await Promise.all(images.map(prepare)))];
    const notices = [];
    if (pictures.length > MAX_PICTURES) {
      notices.push(`At most ${MAX_PICTURES} pictures at once: only the first ${MAX_PICTURES} are used.`);
    }
    // A crop belongs to the single picture it was drawn on.
    if (albumOf(currentQuery()).crop) notices.push("Only a single picture can be cropped: all pictures are used whole now.");
    navigate(withAlbum(currentQuery(), storeAlbum(pictures.slice(0, MAX_PICTURES))));
    notify(notices.join(" "));
  };
  wireFileInput(addFiles);
  wirePaste(addFiles);
  wireDragAndDrop(addFiles);
}

function wireFileInput(addFiles) {
  fileInput.addEventListener("change", () => {
    const files = [...fileInput.files];
    fileInput.value = ""; // so that choosing the same file again fires a change event
    if (files.length) addFiles(files);
  });
}

function wirePaste(addFiles) {
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return; // text is pasted as usual
    event.preventDefault();
    addFiles(files);
  });
}

function wireDragAndDrop(addFiles) {
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  for (const type of ["dragenter", "dragover"]) {
    document.addEventListener(type, (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      overlay.hidden = false;
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) overlay.hidden = true; // null: the pointer left the window, not just an element
  });
  document.addEventListener("drop", (event) => {
    overlay.hidden = true;
    if (!carriesFiles(event)) return;
    event.preventDefault();
    addFiles([...event.dataTransfer.files]);
  });
}

async function prepare(file) {
  const upload = file.size > MAX_BYTES ? await scaleDown(file) : file;
  return { file: upload, url: URL.createObjectURL(upload), name: file.name || "picture" };
}

/** Scale a picture down to MAX_SIDE px a side. Returns the file unchanged if the browser cannot read it; the server may. */
async function scaleDown(file) {
  try {
    const image = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, MAX_SIDE / Math.max(image.width, image.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(image.width * scale);
    canvas.height = Math.round(image.height * scale);
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff"; // transparent areas become white, as on the server
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    return new File([blob], file.name, { type: "image/jpeg" });
  } catch {
    return file;
  }
}

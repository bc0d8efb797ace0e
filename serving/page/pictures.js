// Pictures to search with: how they get in (chosen, dropped, pasted), and that they are not too many or too large.

import { byId } from "./dom.js";
import { albumOf, byPictures, keepAlbum } from "./search.js";

export const MAX_PICTURES = 8;
// The server takes 10 MB a picture; what is larger is made smaller here, and nothing is lost: it looks at 2,048 px.
const MAX_BYTES = 8_000_000;
const MAX_SIDE = 2048;

const curtain = byId("curtain");
const choose = byId("choose");

/**
 * Take pictures from wherever they come.
 *
 * @param {() => object} current the search that is shown.
 * @param {(search: object) => void} ask called with a search by the new pictures.
 * @param {(text: string) => void} say called with what the shopper should know.
 */
export function takePictures(current, ask, say) {
  const add = async (files) => {
    const fresh = files.filter((file) => file.type.startsWith("image/"));
    if (!fresh.length) return say("That is not a picture. JPEG, PNG, WebP, GIF, BMP and TIFF can be searched with.");
    const had = albumOf(current()).pictures;
    const pictures = [...had, ...(await Promise.all(fresh.map(prepare)))];
    const notes = [];
    if (pictures.length > MAX_PICTURES) notes.push(`At most ${MAX_PICTURES} pictures at once: the first are used.`);
    // A crop belongs to the one picture it was drawn on.
    if (albumOf(current()).crop) notes.push("A part can be chosen of a single picture only: all of each is used now.");
    ask(byPictures(current(), keepAlbum(pictures.slice(0, MAX_PICTURES))));
    say(notes.join(" "));
  };
  choose.addEventListener("change", () => {
    const files = [...choose.files];
    choose.value = ""; // so that choosing the same file again is a change too
    if (files.length) add(files);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return; // text goes where it was pasted
    event.preventDefault();
    add(files);
  });
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      curtain.hidden = false;
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) curtain.hidden = true; // null: it left the window, not just an element
  });
  document.addEventListener("drop", (event) => {
    curtain.hidden = true;
    if (!carriesFiles(event)) return;
    event.preventDefault();
    add([...event.dataTransfer.files]);
  });
}

async function prepare(file) {
  const small = file.size > MAX_BYTES ? await shrunk(file) : file;
  return { file: small, url: URL.createObjectURL(small), name: file.name || "picture" };
}

/** The picture with at most MAX_SIDE px a side; as it is where the browser cannot read it, and the server may. */
async function shrunk(file) {
  try {
    const image = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, MAX_SIDE / Math.max(image.width, image.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(image.width * scale);
    canvas.height = Math.round(image.height * scale);
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff"; // what is transparent becomes white, as on the server
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    return new File([blob], file.name, { type: "image/jpeg" });
  } catch {
    return file;
  }
}

// What the page holds.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const data = read("data");
const pictures = data.pictures;
const words = data.words;
const count = data.clusters.number.length;
const KEEP = 0, BRIDGE = 1, DUPLICATE = 2;
const relationWords = Object.keys(words.relations), reasonWords = Object.keys(words.reasons), ruleWords = Object.keys(words.rules);

// first[c] is the first picture of cluster c, its keeper; first[count] ends the last one
const first = new Uint32Array(count + 1);
data.clusters.size.forEach((size, c) => { first[c + 1] = first[c] + size; });
const links = new Set(pictures.link);
const freesNothing = new Set(pictures.frees_nothing);
const freedBy = (p) => (pictures.role[p] === DUPLICATE && !freesNothing.has(p) ? pictures.bytes[p] : 0);

// Folders without what all of them begin with
const folders = pictures.folders.map(([shown]) => shown);
const common = (() => {
  if (folders.length < 2) return 0;
  let end = 0;
  const [low, high] = [folders.reduce((a, b) => (a < b ? a : b)), folders.reduce((a, b) => (a > b ? a : b))];
  while (end < low.length && low[end] === high[end]) end += 1;
  return end === low.length && high[end] === "/" ? end + 1 : low.lastIndexOf("/", end - 1) + 1;
})();
const shortFolder = (f) => (folders.length < 2 && folders[f]) || folders[f].slice(common) || folders[f].slice(folders[f].lastIndexOf("/") + 1) || "/";
const pathOf = (p) => `${folders[pictures.folder[p]].replace(/\/$/, "")}/${pictures.name[p]}`;
const hrefOf = (p) => pictures.folders[pictures.folder[p]][1] + (pictures.hrefs[p] || encodeURIComponent(pictures.name[p]));
const worded = (column, p) => column.words[column.at[p]] || "";

// Thumbnails: each block is what its files begin with and the rest of each, in base64 that can be joined.
const PER_BLOCK = data.per_block;
const split = new Map();
const waiting = [];

function thumbOf(p) {
  const block = Math.floor(p / PER_BLOCK);
  let parts = split.get(block);
  if (!parts) {
    const holder = document.getElementById(`thumbs-${block}`);
    if (!holder || (document.readyState === "loading" && !holder.nextElementSibling)) return null;
    parts = holder.textContent.split(",");
    if (split.size > 40) split.delete(split.keys().next().value);
    split.set(block, parts);
  }
  return `data:image/jpeg;base64,${parts[0]}${parts[p % PER_BLOCK + 1]}`;
}

// Show the thumbnail of a picture, at once or when the page has come as far as that; where it has none, its file.
function showThumb(image, p) {
  const source = thumbOf(p);
  if (source) image.src = source;
  else if (document.readyState === "loading") {
    if (!waiting.length) setTimeout(showWaiting, 50);
    waiting.push([image, p]);
  } else if (data.files_here && hrefOf(p).startsWith("file:")) image.src = hrefOf(p);
}

function showWaiting() {
  for (const [image, p] of waiting.splice(0)) if (image.isConnected) showThumb(image, p);
}

// Two pictures in the whole window: side by side, in turns, or their difference; zoomed and moved together.
const MODES = { side: "side by side", blink: "blink", difference: "difference" };
const BLINK_MS = 700;
const look = { p: 0, other: 0, mode: "side", thumbs: !data.files_here, zoom: 1, x: 0, y: 0, front: 0, beats: null, gain: 4 };
const box = element("dialog", { className: "compare", ariaLabel: "compare two pictures" });
const heading = element("h2", { ariaLive: "polite" });
const modeButtons = Object.entries(MODES).map(([mode, label]) => element("button", { type: "button", className: "mode", value: mode }, label));
const gain = element("input", { type: "range", min: 1, max: 32, value: 4, ariaLabel: "how much stronger the difference is drawn" });
const gainLabel = element("label", { className: "gain" }, "stronger", gain);
const viaButton = element("button", { type: "button", className: "via" });
const stage = element("div", { className: "stage", tabIndex: -1 });
const layers = [0, 1].map(() => {
  const image = element("img", { alt: "", draggable: false });
  const label = element("p", { className: "label" });
  return { image, label, element: element("div", { className: "layer" }, element("div", { className: "view" }, image), label) };
});
const table = element("table", { className: "facts-of-two" });
const closeButton = element("button", { type: "button", className: "close", ariaLabel: "close" }, "Close");

const equal = element("p", { className: "label equal" }, "equal, byte for byte: all is black");
stage.append(...layers.map((layer) => layer.element), equal);
box.append(
  element("header", null, heading, element("span", { className: "modes", role: "group", ariaLabel: "view" }, ...modeButtons), gainLabel, viaButton, closeButton),
  stage,
  element("div", { className: "below" }, table));

// The pictures of the cluster beside its keeper, in the order of its card.
const clusterOf = (p) => {
  let low = 0, high = count;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (first[middle] <= p) low = middle;
    else high = middle;
  }
  return low;
};

function compare(p) {
  const c = clusterOf(p);
  look.p = p === first[c] && first[c + 1] - first[c] > 1 ? p + 1 : p; // the keeper is shown beside its first
  look.other = first[c];
  Object.assign(look, { zoom: 1, x: 0, y: 0, front: 0 });
  if (!box.open) { box.showModal(); stage.focus(); }
  drawCompare();
}

function drawCompare() {
  const c = clusterOf(look.p), keeper = first[c];
  const through = pictures.through[look.p];
  heading.replaceChildren(`Cluster ${number(data.clusters.number[c])}, picture ${look.p - keeper + 1} of ${data.clusters.size[c]}`);
  viaButton.hidden = !through;
  viaButton.textContent = look.other === keeper ? "with the one it is joined through" : "with the one to keep";
  drawLayer(layers[0], look.other, "");
  drawLayer(layers[1], look.p, turnText(look.other === keeper ? pictures.turn[look.p] : through && through[2]));
  drawFacts();
  setMode(look.mode);
}

function drawLayer(layer, p, turn) {
  layer.p = p;
  layer.turn = turn;
  layer.label.replaceChildren(
    element("span", { className: `pill ${words.roles[pictures.role[p]]}` }, words.roles[pictures.role[p]] || ""),
    pathElement("a", { href: hrefOf(p), target: "_blank", rel: "noopener noreferrer" }, pictures.name[p]),
    layer.note = element("span", { className: "quiet" }));
  const thumb = thumbOf(p) || "";
  layer.image.onerror = () => {
    layer.image.onerror = null;
    layer.note.textContent = "stored thumbnail: the file is not there, or no browser shows it";
    layer.image.src = thumb;
  };
  layer.image.classList.toggle("thumb", look.thumbs);
  if (look.thumbs || !hrefOf(p).startsWith("file:")) {
    layer.note.textContent = look.thumbs ? "stored thumbnail, which was compared" : "stored thumbnail";
    layer.image.src = thumb;
  } else layer.image.src = hrefOf(p);
}

// What differs is in full ink, and the better of two numbers in bold.
function drawFacts() {
  const two = [look.other, look.p];
  const pixels = (p) => pictures.width[p] * pictures.height[p];
  const date = (seconds) => (!seconds ? "" : new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " "));
  const rows = [
    ["name", (p) => pictures.name[p], null],
    ["folder", (p) => folders[pictures.folder[p]], null],
    ["pixels", (p) => `${pictures.width[p]} × ${pictures.height[p]}`, pixels],
    ["size", (p) => sizeText(pictures.bytes[p]), (p) => pictures.bytes[p]],
    ["format", (p) => worded(pictures.format, p), null],
    ["taken", (p) => date(pictures.taken[p]), null],
    ["changed", (p) => date(pictures.time[p]), null],
    ["camera", (p) => worded(pictures.camera, p), null],
  ];
  const said = rows.map(([name, text, value]) => {
    const texts = two.map(text);
    if (!texts[0] && !texts[1]) return "";
    const cells = texts.map((here, k) => {
      const better = value && value(two[k]) > value(two[1 - k]);
      return pathElement("td", { className: texts[0] === texts[1] ? "same" : better ? "better" : "" }, here);
    });
    return element("tr", null, element("th", { scope: "row" }, name), ...cells);
  });
  const verdict = element("div", { className: "pills" }, ...pillsOf(look.p), ...remarksOf(look.p));
  table.replaceChildren(element("tbody", null, ...said.filter(Boolean),
    element("tr", null, element("th", { scope: "row" }, "found"), element("td"), element("td", null, verdict))));
}

function setMode(mode) {
  look.mode = mode;
  for (const button of modeButtons) button.ariaPressed = String(button.value === mode);
  stage.className = `stage ${mode}`;
  gainLabel.hidden = mode !== "difference";
  equal.hidden = mode !== "difference" || look.other !== first[clusterOf(look.p)] || relationWords[pictures.relation[look.p]] !== "same_bytes";
  clearInterval(look.beats);
  if (mode === "blink" && !matchMedia("(prefers-reduced-motion: reduce)").matches) look.beats = setInterval(flip, BLINK_MS);
  place();
}

function flip() {
  look.front = 1 - look.front;
  place();
}

// Both pictures in boxes of one size, that of the left one: the comparison squeezes them onto one square as well.
function place() {
  const room = layers[0].element.getBoundingClientRect();
  const aspect = pictures.width[look.other] / pictures.height[look.other];
  const width = Math.min(room.width, room.height * aspect), height = width / aspect;
  for (const [k, layer] of layers.entries()) {
    const lies = /rotate\(-(90|270)deg\)/.test(layer.turn);
    Object.assign(layer.image.style, {
      width: `${lies ? height : width}px`,
      height: `${lies ? width : height}px`,
      transform: `translate(-50%, -50%) ${layer.turn}`,
    });
    layer.element.firstChild.style.transform = `translate(${look.x}px, ${look.y}px) scale(${look.zoom})`;
    layer.element.classList.toggle("behind", look.mode === "blink" && k !== look.front);
  }
  stage.style.setProperty("--gain", look.mode === "difference" ? look.gain : 1);
  look.natural = width ? pictures.width[look.other] / width / (window.devicePixelRatio || 1) : 1;
}

function zoomTo(zoom, x = 0, y = 0) {
  const next = Math.min(40, Math.max(1, zoom));
  const by = next / look.zoom;
  look.x = next === 1 ? 0 : x + (look.x - x) * by;
  look.y = next === 1 ? 0 : y + (look.y - y) * by;
  look.zoom = next;
  place();
}

// A step to another picture of the cluster, or to the cluster before or after on the page.
function stepCompare(by) {
  const c = clusterOf(look.p), size = first[c + 1] - first[c];
  if (size > 1) compare(first[c] + 1 + (look.p - first[c] - 1 + by + size - 1) % (size - 1));
}

function stepCluster(by) {
  const at = shown.indexOf(clusterOf(look.p)) + by;
  if (at < 0 || at >= shown.length) return;
  goTo(at);
  compare(first[shown[at]] + 1);
}

modeButtons.forEach((button) => button.addEventListener("click", () => setMode(button.value)));
gain.addEventListener("input", () => { look.gain = Number(gain.value); place(); });
viaButton.addEventListener("click", () => {
  const keeper = first[clusterOf(look.p)];
  look.other = look.other === keeper ? pictures.through[look.p][0] : keeper;
  drawCompare();
});
closeButton.addEventListener("click", () => box.close());
box.addEventListener("close", () => {
  clearInterval(look.beats);
  layers.forEach(({ image }) => image.removeAttribute("src"));
  focusPicture(look.p);
});
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const room = event.target.closest(".layer").getBoundingClientRect();
  zoomTo(look.zoom * 1.0015 ** -event.deltaY, event.clientX - room.left - room.width / 2, event.clientY - room.top - room.height / 2);
}, { passive: false });
stage.addEventListener("pointerdown", (event) => { if (!event.target.closest("a")) stage.setPointerCapture(event.pointerId); });
stage.addEventListener("pointermove", (event) => {
  if (!stage.hasPointerCapture(event.pointerId) || look.zoom === 1) return;
  look.x += event.movementX;
  look.y += event.movementY;
  place();
});
window.addEventListener("resize", () => { if (box.open) place(); });

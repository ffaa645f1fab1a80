// The two pictures that are asked about: the one to keep on the left, another of its group on the right.
const ORIGINAL_AFTER_MS = 120; // whoever decides sooner than that needs none
const SEEN = 40; // how bright a difference is drawn, of 255, in the mean
const shown = { left: null, right: null, originals: true, outlines: true, drawing: 0 };
const table = element("table", { className: "facts-of-two" });
const heading = element("h1", { ariaLive: "polite" });

function drawPair(left, right) {
  Object.assign(shown, { left, right, drawing: shown.drawing + 1 });
  const drawing = shown.drawing, pair = pairOf(left.id, right.id);
  unzoomed();
  view.aspect = left.width / left.height;
  view.width = left.width;
  [left, right].forEach((picture, k) => drawThumb(layers[k], picture));
  drawFacts(pair.found);
  applyPair(pair.found);
  requestAnimationFrame(() => setTimeout(() => performance.mark("pair drawn")));
  if (!pair.found) {
    pair.then((found) => { if (drawing === shown.drawing) { applyPair(found); drawFacts(found); } }, (error) => say(error.message, true));
  }
  if (shown.originals) setTimeout(() => { if (drawing === shown.drawing) [left, right].forEach((picture, k) => drawOriginal(layers[k], picture, drawing)); }, ORIGINAL_AFTER_MS);
}

function drawThumb(layer, picture) {
  const left = layer === layers[0];
  layer.image.classList.add("thumb");
  layer.image.src = thumbOf(picture.id).src;
  layer.image.alt = picture.name;
  layer.label.replaceChildren(
    element("span", { className: `pill ${left ? "keep" : picture.role === "bridge" ? "bridge" : "duplicate"}` }, left ? "keep" : picture.role === "keep" ? "other" : picture.role),
    pathElement("span", { className: "of" }, picture.name),
    layer.note = element("span", { className: "quiet" }, shown.originals ? "" : "stored thumbnail, which was compared"));
}

async function drawOriginal(layer, picture, drawing) {
  const { address, reason } = await originalOf(picture.id);
  if (drawing !== shown.drawing) return;
  layer.note.textContent = reason ? `stored thumbnail: ${reason}` : "";
  if (!address) return;
  layer.image.classList.remove("thumb");
  layer.image.src = address;
}

// How the right one lies beside the left one, and boxes round what differs.
function applyPair(found) {
  if (found && !view.isGainChosen) { // near pictures would differ in black, far ones in white
    gain.value = SEEN / Math.sqrt(Math.max(found.mse, 1));
    view.gain = Number(gain.value);
  }
  layers[0].turn = "";
  layers[1].turn = found ? turnText(found.turn) : "";
  for (const layer of layers) {
    const boxes = found && shown.outlines ? found.boxes : [];
    layer.element.firstChild.replaceChildren(layer.image, ...boxes.map((of) => Object.assign(element("div", { className: "outline" }), { of })));
  }
  setMode(view.mode);
}

// What differs is in full ink; a number is marked better or worse only where one of the two is.
function drawFacts(found) {
  const two = [shown.left, shown.right];
  const pixels = (p) => p.width * p.height;
  const rows = factRows(two, [
    ["name", (p) => p.name],
    ["folder", (p) => p.folder],
    ["pixels", (p) => `${p.width} × ${p.height}`, pixels],
    ["size", (p) => sizeText(p.bytes), (p) => p.bytes],
    ["format", (p) => p.format || ""],
    ["has", (p) => p.metadata, (p) => (p.metadata ? p.metadata.split(", ").length : 0)],
    ["taken", (p) => p.taken || ""],
    ["changed", (p) => dateText(p.changed)],
    ["camera", (p) => p.camera || ""],
    ["copies", (p) => (p.copies ? `and ${counted(p.copies, "more file")}, equal byte for byte` : "")],
  ]);
  table.replaceChildren(element("tbody", null, ...rows,
    element("tr", null, element("th", { scope: "row" }, "found"), element("td", null, ...remarksOf(shown.left, null)), element("td", null, ...remarksOf(shown.right, found)))));
}

function remarksOf(picture, found) {
  const pill = (text, kind = "") => element("span", { className: `pill ${kind}` }, text);
  const pills = [], remarks = [];
  if (found) pills.push(pill(found.mse === 0 ? "thumbnails equal" : mseText(found.mse), "mse"));
  if (found && found.turn !== "identity") pills.push(pill(`turned: ${found.turn}`));
  if (picture !== shown.left && picture.relation) pills.push(pill(words.relation[picture.relation]));
  const decided = group && group.decided.find((made) => isOf(made, shown.left.id, shown.right.id));
  if (picture !== shown.left && decided) pills.push(pill(saidOf(decided), "said"));
  if (picture !== shown.left && picture.reason) remarks.push(["look", `bridge: ${words.reason[picture.reason]}`]);
  if (picture !== shown.left && picture.rule) remarks.push(["", `the one to keep ${words.rule[picture.rule]}${picture.compared ? ` (${picture.compared})` : ""}`]);
  const lines = remarks.map(([kind, text]) => element("p", { className: `remark ${kind}` }, element("bdi", null, text)));
  if (picture !== shown.left && picture.reason === "chain") lines.push(throughOf(picture));
  return [element("div", { className: "pills" }, ...pills), ...lines];
}

// Through which picture a bridge is joined.
function throughOf(picture) {
  const line = element("p", { className: "remark look" });
  call("through", { a: picture.id }).then(({ image, mse }) => {
    const other = group && group.members.find((member) => member.id === image);
    if (other) line.append("nearest in the group: ", element("bdi", null, other.name), `, ${mseText(mse)}`);
  }, () => {});
  return line;
}

function redraw() {
  if (shown.left) drawPair(shown.left, shown.right);
}

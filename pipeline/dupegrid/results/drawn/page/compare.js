// Two pictures in the whole window, on the stage of stage.js.
const look = { p: 0, other: 0, thumbs: !data.files_here };
const box = element("dialog", { className: "compare", ariaLabel: "compare two pictures" });
const heading = element("h2", { ariaLive: "polite" });
const viaButton = element("button", { type: "button", className: "via" });
const table = element("table", { className: "facts-of-two" });
const closeButton = element("button", { type: "button", className: "close", ariaLabel: "close" }, "Close");

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
  unzoomed();
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
  view.aspect = pictures.width[look.other] / pictures.height[look.other];
  view.width = pictures.width[look.other];
  view.equal = look.other === keeper && relationWords[pictures.relation[look.p]] === "same_bytes";
  setMode(view.mode);
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
  const rows = factRows(two, [
    ["name", (p) => pictures.name[p]],
    ["folder", (p) => folders[pictures.folder[p]]],
    ["pixels", (p) => `${pictures.width[p]} × ${pictures.height[p]}`, pixels],
    ["size", (p) => sizeText(pictures.bytes[p]), (p) => pictures.bytes[p]],
    ["format", (p) => worded(pictures.format, p)],
    ["taken", (p) => dateText(pictures.taken[p])],
    ["changed", (p) => dateText(pictures.time[p])],
    ["camera", (p) => worded(pictures.camera, p)],
  ]);
  const verdict = element("div", { className: "pills" }, ...pillsOf(look.p), ...remarksOf(look.p));
  table.replaceChildren(element("tbody", null, ...rows,
    element("tr", null, element("th", { scope: "row" }, "found"), element("td"), element("td", null, verdict))));
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

viaButton.addEventListener("click", () => {
  const keeper = first[clusterOf(look.p)];
  look.other = look.other === keeper ? pictures.through[look.p][0] : keeper;
  drawCompare();
});
closeButton.addEventListener("click", () => box.close());
box.addEventListener("close", () => {
  stopBlinking();
  layers.forEach(({ image }) => image.removeAttribute("src"));
  focusPicture(look.p);
});
window.addEventListener("resize", () => { if (box.open) place(); });

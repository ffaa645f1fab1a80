// The clusters of a page as cards, each with its keeper, then bridges, then duplicates.
const PER_PAGE = 40;
const AT_FIRST = 24; // duplicates of a cluster that are drawn at once; the keeper and bridges always are
const MORE = 200;
const main = document.getElementById("page");
const list = element("section", { className: "cards", ariaLabel: "clusters" });
let pageAt = 0;

const pagesOf = () => Math.max(1, Math.ceil(shown.length / PER_PAGE));

const onThisPage = () => shown.slice(pageAt * PER_PAGE, (pageAt + 1) * PER_PAGE);

function drawPage(page, upTo) {
  pageAt = Math.min(Math.max(0, page), pagesOf() - 1);
  const here = onThisPage().slice(0, upTo);
  list.replaceChildren(...Array.from(here, cardOf));
  if (!here.length) list.append(element("p", { className: "empty" }, "No cluster is as asked for. Ask for less above, or press Escape there."));
}

function drawRest() {
  list.append(...Array.from(onThisPage().slice(list.children.length), cardOf));
  watchPictures();
}

function cardOf(c) {
  const start = first[c], end = first[c + 1];
  let bridges = 0, freed = 0;
  for (let p = start; p < end; p += 1) {
    if (pictures.role[p] === BRIDGE) bridges += 1;
    if (passes(p)) freed += freedBy(p);
  }
  const sameFolder = pictures.folder.slice(start, end).every((f) => f === pictures.folder[start]);
  const usual = end - start > 2 ? usualRule(start + 1, end) : -1;
  const figures = element("div", { className: "pictures" });
  const card = element("article", { className: "card", tabIndex: -1, ariaLabel: `cluster ${data.clusters.number[c]}` },
    element("header", null,
      element("h2", null, `Cluster ${number(data.clusters.number[c])}`),
      element("span", { className: "quiet" }, counted(end - start, "picture")),
      freed ? element("span", { className: "freed" }, `${sizeText(freed)} would be freed`) : "",
      bridges ? element("span", { className: "pill bridge" }, counted(bridges, "bridge")) : "",
      element("span", { className: "quiet" }, ruleText(usual)),
      sameFolder ? folderButton(pictures.folder[start]) : ""),
    figures);
  Object.assign(card, { cluster: c, sameFolder, usual });
  drawPictures(card, figures, start, Math.min(end, start + 1 + bridges + AT_FIRST));
  return card;
}

function drawPictures(card, figures, from, to) {
  const end = first[card.cluster + 1];
  for (let p = from; p < to; p += 1) figures.append(pictureOf(p, card));
  if (to >= end) return;
  const more = element("button", { className: "rest", type: "button" }, `Show ${end - to > MORE ? `${MORE} of ` : ""}${counted(end - to, "more duplicate")}`);
  more.addEventListener("click", () => {
    more.remove();
    drawPictures(card, figures, to, Math.min(end, to + MORE));
    figures.children[to - first[card.cluster]].querySelector("button").focus();
  });
  figures.append(more);
}

function folderButton(f) {
  const button = pathElement("button", { type: "button", className: "folder", title: `${folders[f]}: show this folder only` }, shortFolder(f));
  button.addEventListener("click", () => askForFolder(folders[f]));
  return button;
}

const tileWidth = (p) => Math.round(Math.min(214, Math.max(144, 140 * turnedAspect(p))));
const turnedAspect = (p) => pictures.width[p] / pictures.height[p];

function pictureOf(p, card) {
  const role = words.roles[pictures.role[p]] || "";
  const image = element("img", { alt: "", decoding: "async" });
  image.style.aspectRatio = `${pictures.width[p]} / ${pictures.height[p]}`;
  const open = element("button", { type: "button", className: "open", ariaLabel: `compare ${pictures.name[p]}` }, image);
  const figure = element("figure", { className: `picture ${role}` }, open,
    element("figcaption", null,
      pathElement("a", { className: "name", href: hrefOf(p), target: "_blank", rel: "noopener noreferrer", title: pathOf(p) }, pictures.name[p]),
      card.sameFolder ? "" : folderButton(pictures.folder[p]),
      factsOf(p, first[card.cluster]),
      element("div", { className: "pills" }, ...pillsOf(p)),
      ...remarksOf(p, card.usual)));
  figure.style.width = `${tileWidth(p)}px`;
  if (pictures.role[p] !== KEEP && !passes(p)) figure.classList.add("aside");
  figure.picture = p;
  open.addEventListener("click", () => compare(p));
  showThumb(image, p);
  return figure;
}

// Size and bytes; what is as with the keeper stands back.
function factsOf(p, keeper) {
  const same = (column) => p !== keeper && pictures[column][p] === pictures[column][keeper];
  const sides = element("span", { className: same("width") && same("height") ? "same" : "" }, `${pictures.width[p]} × ${pictures.height[p]}`);
  const bytes = element("span", { className: same("bytes") ? "same" : "" }, sizeText(pictures.bytes[p]));
  return element("div", { className: "numbers" }, sides, " · ", bytes);
}

function pillsOf(p) {
  const role = pictures.role[p];
  if (role === KEEP) return [element("span", { className: "pill keep" }, "keep")];
  const pills = [element("span", { className: `pill ${words.roles[role]}` }, words.roles[role] || "")];
  if (pictures.relation[p] >= 0) pills.push(element("span", { className: "pill" }, words.relations[relationWords[pictures.relation[p]]]));
  if (pictures.mse[p] !== null) pills.push(element("span", { className: "pill mse", title: "mean squared error of the two thumbnails" }, mseText(pictures.mse[p])));
  return pills;
}

const ruleText = (rule) => (rule < 0 ? "" : `the one to keep ${words.rules[ruleWords[rule]]}`);

// What put the keeper before most of them; it stands in the head of their card.
function usualRule(from, to) {
  const counts = new Map();
  for (let p = from; p < to; p += 1) counts.set(pictures.rule[p], (counts.get(pictures.rule[p]) || 0) + 1);
  return [...counts].reduce((best, other) => (other[1] > best[1] ? other : best))[0];
}

// In words: why it is a bridge and through which picture, what put the keeper before it.
function remarksOf(p, usual = -1) {
  const lines = [];
  if (pictures.reason[p] >= 0) lines.push(["look", words.reasons[reasonWords[pictures.reason[p]]]]);
  const through = pictures.through[p];
  if (through) lines.push(["look", `through ${pictures.name[through[0]]}, ${mseText(through[1])}`]);
  if (links.has(p)) lines.push(["", "another name of one file: frees nothing"]);
  if (pictures.rule[p] !== usual) lines.push(["", ruleText(pictures.rule[p])]);
  return lines.filter(([, text]) => text).map(([kind, text]) => element("p", { className: `remark ${kind}` }, element("bdi", null, text)));
}

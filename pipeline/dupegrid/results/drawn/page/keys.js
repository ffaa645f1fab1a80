// The keyboard: one meaning a key on the page, and one in the comparison.
const KEYS = {
  "on the page": [
    ["j  k", "the next, the previous cluster"],
    ["←  →", "another picture of the cluster"],
    ["Space", "compare it with the one to keep"],
    ["n  p", "the next, the previous page"],
    ["/", "to the text filter, Esc empties it"],
    ["?", "these keys"],
  ],
  "while comparing": [
    ["←  →", "another picture"],
    ["j  k", "the next, the previous cluster"],
    ["s  b  w  d", "side by side, blink, slider, difference"],
    ["Space", "side by side: blink; blink: the other picture"],
    ["z  +  −", "real pixels or all of it, closer, further; also wheel and drag"],
    ["t", "the stored thumbnails, which were compared, or the files"],
    ["Esc", "back to the page"],
  ],
};
const help = keysDialog(KEYS);

const current = { at: 0, p: -1 }; // which of `shown`, and which picture of it

function figureOf(p) {
  return [...list.querySelectorAll("figure")].find((figure) => figure.picture === p);
}

function focusPicture(p) {
  const figure = figureOf(p);
  if (!figure) return; // not drawn: the rest of a large cluster comes when it is asked for
  current.p = p;
  figure.querySelector("button").focus({ preventScroll: true });
  const card = figure.closest(".card");
  card.scrollIntoView({ block: card.offsetHeight > innerHeight ? "start" : "nearest" });
  if (card.offsetHeight > innerHeight) figure.scrollIntoView({ block: "nearest" });
}

// To the cluster at a place among those shown, on whichever page it is.
function goTo(at) {
  if (at < 0 || at >= shown.length) return;
  const page = Math.floor(at / PER_PAGE);
  if (page !== pageAt) turnTo(page);
  current.at = at;
  focusPicture(first[shown[at]]);
}

list.addEventListener("focusin", (event) => {
  const card = event.target.closest(".card"), figure = event.target.closest("figure");
  list.querySelectorAll(".card.current").forEach((other) => other.classList.toggle("current", other === card));
  if (!card) return;
  card.classList.add("current");
  current.at = pageAt * PER_PAGE + [...list.children].indexOf(card);
  current.p = figure ? figure.picture : first[card.cluster];
});

function stepPicture(by) {
  const c = shown[current.at];
  if (c === undefined) return;
  if (current.p < 0) focusPicture(first[c]);
  else focusPicture(Math.min(first[c + 1] - 1, Math.max(first[c], current.p + by)));
}

const hasFocus = () => list.contains(document.activeElement);
const onPage = {
  j: () => goTo(hasFocus() ? current.at + 1 : current.at),
  k: () => goTo(hasFocus() ? current.at - 1 : current.at),
  ArrowRight: () => stepPicture(1),
  ArrowLeft: () => stepPicture(-1),
  " ": () => { if (shown.length) compare(current.p < 0 ? first[shown[current.at]] : current.p); },
  n: () => goTo((pageAt + 1) * PER_PAGE),
  p: () => goTo(Math.max(0, (pageAt - 1) * PER_PAGE)),
  "/": () => textField.select(),
  "?": () => help.showModal(),
};
const inCompare = {
  j: () => stepCluster(1),
  k: () => stepCluster(-1),
  ArrowRight: () => stepCompare(1),
  ArrowLeft: () => stepCompare(-1),
  s: () => setMode("side"),
  b: () => setMode("blink"),
  w: () => setMode("slider"),
  d: () => setMode("difference"),
  " ": () => { if (view.mode === "blink") { stopBlinking(); flip(); } else setMode("blink"); },
  z: () => zoomToPixels(),
  "+": () => zoomTo(view.zoom * 1.25),
  "=": () => zoomTo(view.zoom * 1.25),
  "-": () => zoomTo(view.zoom / 1.25),
  t: () => { look.thumbs = !look.thumbs; drawCompare(); },
  "?": () => help.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (!count || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const field = event.target.closest("input, select, textarea, summary");
  if (field) {
    if (event.key === "Escape" && !box.open) { if (field === textField) askForText(""); field.blur(); }
    if (field.type !== "range" || event.key.startsWith("Arrow")) return;
  }
  if (event.key === " " && event.target.closest("button, a") && !event.target.closest(".open")) return;
  const act = (box.open ? inCompare : onPage)[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

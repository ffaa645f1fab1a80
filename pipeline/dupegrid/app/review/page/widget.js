// The review in a cell of a notebook: what groups.js needs, over the messages of a widget in place of a server.
const shown = { left: null, right: null }, filter = { text: "", folder: "", role: "", rule: "", relation: "", decided: false };
const heading = element("strong"), said = element("span", { className: "quiet" }), meter = element("meter", { min: 0 });
const trouble = element("p", { className: "trouble", role: "alert", hidden: true });
const pairing = element("div", { className: "pair" }), ending = element("p", { hidden: true }), gain = element("p", { className: "quiet" });
const root = element("div", { className: "dupegrid-review", tabIndex: 0 });

const waiting = new Map();
let asked = 0;
function ask(name, given) {
  return new Promise((resolve, reject) => {
    waiting.set(asked += 1, { resolve, reject });
    model.send({ id: asked, name, given: given || {} });
  });
}
const call = (name, given) => ask(name, given).then(({ answer }) => answer);
function heard({ id, answer, error }, buffers) {
  const call = waiting.get(id);
  waiting.delete(id);
  if (call && error) call.reject(new Error(error));
  else if (call) call.resolve({ answer, buffers });
}

const THUMBS_KEPT = 400, thumbs = new Map(), pairs = new Map();
function thumbOf(id) {
  if (!thumbs.has(id)) {
    const thumb = new Image();
    thumbs.set(id, thumb);
    ask("thumb", { id }).then(({ buffers: [bytes] }) => {
      thumb.src = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
      if (group && shown.left) { drawPair(shown.left, shown.right); drawGroup(); }
    }, (error) => say(error.message));
    if (thumbs.size > THUMBS_KEPT) {
      const [oldest, old] = thumbs.entries().next().value;
      thumbs.delete(oldest);
      URL.revokeObjectURL(old.src);
    }
  }
  return thumbs.get(id);
}

function pairOf(a, b) {
  const key = `${a} ${b}`;
  if (!pairs.has(key)) pairs.set(key, call("pair", { a, b }).catch((error) => { pairs.delete(key); throw error; }));
  if (pairs.size > THUMBS_KEPT) pairs.delete(pairs.keys().next().value);
  return pairs.get(key);
}

const FACTS = [
  ["name", ({ name }) => name],
  ["folder", ({ folder }) => folder],
  ["pixels", ({ width, height }) => `${width} x ${height}`, ({ width, height }) => width * height],
  ["size", ({ bytes }) => sizeText(bytes), ({ bytes }) => bytes],
  ["format", ({ format }) => format || ""],
  ["camera", ({ camera }) => camera || ""],
  ["taken", ({ taken }) => taken || ""],
  ["has", ({ metadata }) => metadata],
];
function drawPair(left, right) {
  const isNew = shown.left !== left || shown.right !== right;
  Object.assign(shown, { left, right });
  const image = (member) => element("img", { src: thumbOf(member.id).src, alt: member.name });
  pairing.replaceChildren(image(left), image(right), element("table", null, element("tbody", null, ...factRows([left, right], FACTS))));
  if (!isNew) return;
  gain.textContent = "";
  pairOf(left.id, right.id).then(({ mse }) => {
    const { reason, rule } = right;
    if (shown.left === left && shown.right === right) gain.textContent = [mseText(mse), words.reason[reason] || "", rule ? `the one to keep ${words.rule[rule]}` : ""].filter(Boolean).join("; ");
  }, (error) => say(error.message));
}

function say(text) {
  trouble.textContent = text;
  trouble.hidden = !text;
}
function showEnd() {
  Object.assign(shown, { left: null, right: null }); // so that what was asked of them is not said here
  pairing.hidden = strip.hidden = true;
  ending.hidden = false;
  heading.textContent = total ? "All groups have been shown" : "There is nothing to decide";
  gain.textContent = "";
  ending.textContent = "Nothing has been deleted or moved: run.path / decisions.parquet has what you decided, and dupegrid.plan(run) goes by it.";
}
function hideEnd() {
  ending.hidden = true;
  pairing.hidden = false;
}

const KEYS = {
  a: ["keep left", () => decide("same", keeper)],
  d: ["keep right", () => decide("same", right)],
  s: ["both", () => decide("variant", null)],
  n: ["not the same", () => decide("not-same", null)],
  " ": ["skip", skip],
  z: ["back", back],
};
let turn = Promise.resolve();
function press(key) { // one after the other, as a decision is written before the next is asked for
  const isDecision = "adsn ".includes(key);
  turn = turn.then(() => (isDecision && !ending.hidden ? null : KEYS[key][1]())).catch((error) => say(error.message));
}
root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault(); // and the notebook has keys of its own
  event.stopPropagation();
  if (!event.repeat) press(event.key);
});

const buttons = Object.entries(KEYS).map(([key, [label]]) => {
  const made = element("button", { type: "button", tabIndex: -1 }, element("kbd", null, key === " " ? "Space" : key), ` ${label}`);
  keepFocus(made);
  made.addEventListener("click", () => { root.focus(); press(key); });
  return made;
});
root.append(element("div", { className: "head" }, heading, said, meter), pairing, gain, strip, ending, element("div", { className: "keys" }, ...buttons), trouble);
el.append(root);
model.on("msg:custom", heard);
turn = Promise.all([call("about"), ask("words")]).then(([found, { answer }]) => { about = found; words = answer; progress(found); return restart(); }).catch((error) => say(error.message));
return () => model.off("msg:custom", heard);

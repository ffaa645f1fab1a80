// The keyboard: one key a decision, which acts and moves on. No key has two meanings.
const KEYS = {
  "decide, and move on": [
    ["a", "keep the left one"],
    ["d", "keep the right one, which meets the next of its group"],
    ["s", "keep both: the same picture, but both stay"],
    ["n", "not the same picture"],
    ["Space", "skip: ask another time"],
    ["z  Backspace", "back: take the last decision back"],
    ["r", "accept the rule for all like this one"],
  ],
  "in a group": [
    ["←  →", "another picture of the group"],
    ["k", "make the right one the one to keep, and go on"],
    ["j", "the next group"],
    ["p", "the plan"],
  ],
  look: [
    ["1  2  3  4", "side by side, blink, slider, difference"],
    ["f  +  −", "real pixels or all of it, closer, further; also wheel and drag"],
    ["o", "boxes round what differs"],
    ["t", "the stored thumbnails, which were compared, or the files"],
    ["/", "to the text filter, Esc empties it"],
    ["?", "these keys"],
  ],
};
const help = keysDialog(KEYS);

// Accepting the rule: how many pairs are like the one that is shown, and what is written of them.
const accepting = element("dialog", { className: "help", ariaLabel: "accept the rule" });
let accepted = null;

async function offerRule() {
  if (!right.rule || right.role !== "duplicate") throw new Error("this one is no duplicate by a rule: decide it alone");
  const like = { ...filter, rule: right.rule, relation: right.relation || filter.relation, role: "duplicate", decided: false };
  const found = await call("acceptable", { filter: like });
  accepted = { filter: like, pairs: found.pairs };
  accepting.replaceChildren(
    element("h2", null, `Accept the rule for ${counted(found.pairs, "pair")} in ${counted(found.groups, "group")}?`),
    element("p", null, `The one to keep ${words.rule[right.rule]}${right.relation ? `; ${words.relation[right.relation]}` : ""}`
      + `${filter.text || filter.folder ? "; as filtered" : ""}. Only pairs that nobody has decided; bridges are left out. Nothing is deleted, and back takes all of it back.`),
    element("form", { method: "dialog" }, element("button", { value: "yes", autofocus: true, disabled: !found.pairs }, "Accept"), " ", element("button", { value: "no" }, "Cancel")));
  accepting.returnValue = "";
  accepting.showModal();
}

accepting.addEventListener("close", () => {
  if (accepting.returnValue === "yes") inTurn(async () => {
    const step = { choice, place: at, accepted: true }, done = await call("accept", accepted);
    await restart();
    steps.push(step);
    progress(done);
    say(`${counted(done.accepted, "decision")} written; z takes them back`);
  });
});

const decisions = {
  a: () => decide("same", keeper),
  d: () => decide("same", right),
  s: () => decide("variant", null),
  n: () => decide("not-same", null),
  r: offerRule,
};
const moves = {
  " ": skip,
  z: back,
  Backspace: back,
  k: choose,
  j: () => enter(at + 1),
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
};
const looks = {
  1: () => setMode("side"),
  2: () => setMode("blink"),
  3: () => setMode("slider"),
  4: () => setMode("difference"),
  f: zoomToPixels,
  "+": () => zoomTo(view.zoom * 1.25),
  "=": () => zoomTo(view.zoom * 1.25),
  "-": () => zoomTo(view.zoom / 1.25),
  o: () => { shown.outlines = !shown.outlines; redraw(); },
  t: () => { shown.originals = !shown.originals; redraw(); },
  "/": () => fields.text.select(),
  "?": () => help.showModal(),
};

// One after the other: a decision that is being written is waited for, and what was typed meanwhile comes after it.
let turn = Promise.resolve();
function inTurn(act) {
  turn = turn.then(act).catch((error) => say(error.message, true));
  return turn;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open || accepting.open || !words) return;
  if (event.target.closest("input, select")) return;
  if (event.target.closest("button, a") && (event.key === " " || event.key === "Enter")) return;
  const { key } = event;
  if (event.repeat && key in decisions) { event.preventDefault(); return; } // a key that is held decides once
  if (looks[key]) { event.preventDefault(); looks[key](); return; }
  if (!decisions[key] && !moves[key] && key !== "p") return;
  event.preventDefault();
  inTurn(() => {
    if (key === "p") return ending.hidden ? showEnd() : enter(at < total ? at : 0);
    if (!ending.hidden && key !== "z" && key !== "Backspace") return null;
    if (key in decisions && isReadOnly) throw new Error("this review is read-only");
    return (decisions[key] || moves[key])();
  });
});

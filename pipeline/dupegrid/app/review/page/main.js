// The page: filters, the pair, what is known of it, and at the end what would come of it.
const meter = element("progress", { ariaLabel: "groups decided" });
const ending = element("main", { className: "ending", hidden: true });
const pairing = element("main", { className: "pairing", hidden: true });
const BUTTONS = [["a", "keep left", "keep upper"], ["d", "keep right", "keep lower"], ["s", "keep both"], ["n", "not the same"], [" ", "skip"], ["z", "back"]];

// In a narrow window one picture is above the other: `narrow` is what some say there.
function button(key, label, narrow = label) {
  const says = [element("span", { className: "wide" }, label), element("span", { className: "narrow" }, narrow)];
  const made = element("button", { type: "button", className: "act", tabIndex: -1 }, element("kbd", null, key === " " ? "Space" : key), ...says);
  keepFocus(made);
  made.addEventListener("click", () => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })));
  return made;
}

async function showEnd() {
  const found = await call("totals");
  pairing.hidden = true;
  ending.hidden = false;
  const left = found.groups - found.finished;
  const rows = [["keep one of two", found.decided.same], ["keep both", found.decided.variant], ["not the same", found.decided["not-same"]]];
  ending.replaceChildren(
    element("h1", null, !found.groups ? "There is nothing to decide" : left ? `${counted(left, "group")} left to decide` : "All groups are decided"),
    element("p", { className: "quiet" }, `Nothing has been deleted or moved. What you decided is in decisions.parquet of the run.`
      + (found.equal_clusters ? ` ${counted(found.equal_clusters, "cluster")} of files that are equal byte for byte (${sizeText(found.equal_bytes)}) were not asked about: the rules decide these.` : "")),
    element("dl", { className: "facts" }, ...rows.map(([name, many]) => element("div", null, element("dt", null, name), element("dd", null, counted(many, "pair"))))),
    ...planOf(found),
    element("p", { className: "quiet" }, "p goes back to the groups, z takes the last decision back."));
  document.title = "dupegrid: review, plan";
}

// What would go: the plan is made when it is asked for, and acted on by a command alone.
function planOf({ commands }) {
  const lines = element("pre", { hidden: true });
  const make = element("button", { type: "button" }, "Make the plan");
  make.addEventListener("click", () => {
    make.disabled = true;
    inTurn(async () => {
      try {
        lines.textContent = (await call("plan")).lines.join("\n");
        lines.hidden = false;
      } finally { make.disabled = false; }
    });
  });
  return [
    isReadOnly ? "" : element("p", null, make, " says what would go by these decisions and by the rules; it changes no picture."),
    lines,
    element("p", null, "The same in a terminal; the second command acts on the plan, after asking:"),
    element("pre", null, element("code", null, commands.join("\n")))];
}

function hideEnd() {
  ending.hidden = true;
  pairing.hidden = false;
  document.title = "dupegrid: review";
}

async function start() {
  try {
    ({ read_only: isReadOnly, words } = await begin());
  } catch (error) {
    document.body.append(element("p", { className: "ending" }, `${error.message}: open the whole address that 'dupegrid review' printed.`));
    return;
  }
  pairing.append(
    element("header", null, heading, element("span", { className: "modes", role: "group", ariaLabel: "view" }, ...modeButtons), gainLabel),
    stage,
    element("div", { className: "choices" }, strip, element("div", { className: "acts" }, ...(isReadOnly ? [] : BUTTONS).map((words) => button(...words)))),
    element("div", { className: "below" }, table));
  document.body.append(
    element("header", { className: "top-bar" }, said, meter,
      element("span", { className: "choose" }, fields.text, fields.folder, fields.relation, fields.role, fields.rule,
        element("label", { className: "check" }, fields.decided, "decided too"),
        element("button", { type: "button", className: "ask", title: "keys", onclick: () => help.showModal() }, "?"))),
    trouble, pairing, ending, help, accepting);
  await inTurn(() => enter(0));
  inTurn(takeUpAbout); // of a large run it comes after its first groups
}

async function takeUpAbout() {
  about = await call("about");
  if (!isWhole) { // the first groups came before the others, and before their relations were known
    isWhole = true;
    pages = new Map();
    if (ending.hidden && group) await enter(at, here());
  }
  fillFilters();
  showFilter();
  progress(about);
  if (ending.hidden && group) drawGroup();
}

window.addEventListener("resize", () => { if (!pairing.hidden) place(); });
start();

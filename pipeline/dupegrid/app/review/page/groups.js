// The groups in their order, one at a time, and what is decided of their pairs: written by the server before it is shown.
const AT_ONCE = 20, AHEAD = 3, STRIP = 40;
let words = null, about = null, group = null, keeper = null, right = null, at = 0, total = 0, isReadOnly = false;
let choice = newChoice(), pages = new Map(), isWhole = true;
const steps = []; // what was decided or skipped, the last one last
const strip = element("div", { className: "strip", role: "group", ariaLabel: "pictures of the group" });

// A number by which the server keeps the places of the groups that this page asks for, whatever another tab asks for.
function newChoice() {
  return Math.floor(Math.random() * 2 ** 40);
}

const isOf = (made, a, b) => (made.a === a && made.b === b) || (made.a === b && made.b === a);
const SAID = { "not-same": "not the same", variant: "both are kept" };
function saidOf({ decision, keeper: kept }) {
  if (SAID[decision]) return SAID[decision];
  if (!kept) return "the same";
  return kept === shown.left.id ? "keep left" : kept === shown.right.id ? "keep right" : "the same";
}

async function pageAt(start) {
  if (!pages.has(start)) {
    const mine = pages;
    pages.set(start, call("groups", { filter, choice, start, count: AT_ONCE }).then((page) => {
      if (mine !== pages) return page; // the filter has changed
      total = page.total;
      isWhole = isWhole && page.whole;
      progress(page);
      return page;
    }));
    pages.get(start).catch(() => pages.delete(start));
  }
  return pages.get(start);
}

async function groupAt(place) {
  const start = Math.floor(place / AT_ONCE) * AT_ONCE;
  return (await pageAt(start)).groups[place - start];
}

async function restart() {
  choice = newChoice();
  pages = new Map();
  at = 0;
  steps.length = 0;
  say("");
  await enter(0);
}

// Show the group at a place, its first pair that nobody has decided; after the last one the plan.
async function enter(place, wanted = null) {
  let found;
  try { found = await groupAt(Math.max(0, place)); } catch (error) { say(error.message, true); return; }
  if (place >= total || !found) { at = total; showEnd(); return; }
  hideEnd();
  at = Math.max(0, place);
  group = found;
  keeper = group.members[0];
  for (const { decision, keeper: kept } of group.decided) {
    if (decision === "same" && kept !== null) keeper = memberOf(kept) || keeper; // the last one that was chosen
  }
  if (wanted) keeper = memberOf(wanted.keeper) || keeper;
  next(others().find(({ id }) => wanted && id === wanted.right) || undecided()[0] || others()[0]);
  ahead();
}

const memberOf = (id) => group.members.find((member) => member.id === id);
const others = () => group.members.filter((member) => member !== keeper);
const hasDecision = (member) => group.decided.some(({ a, b }) => a === member.id || b === member.id);
const undecided = () => others().filter((member) => !hasDecision(member));

function next(member) {
  right = member;
  drawPair(keeper, right);
  drawGroup();
  const following = undecided().filter((other) => other !== right).slice(0, AHEAD);
  for (const other of following) { thumbOf(other.id); pairOf(keeper.id, other.id); }
}

// What is asked next is loaded while this is looked at.
async function ahead() {
  for (let k = 1; k <= AHEAD && at + k < total; k += 1) {
    try {
      const coming = await groupAt(at + k);
      if (!coming) return;
      const [first, second] = coming.members;
      coming.members.slice(0, 6).forEach(({ id }) => thumbOf(id).decode().catch(() => {}));
      await pairOf(first.id, second.id);
    } catch { return; }
  }
}

function drawGroup() {
  const files = group.members.length + group.left_out;
  heading.replaceChildren(`Group ${number(at + 1)}${about ? ` of ${number(total)}` : ""}`, element("span", { className: "quiet" }, ` ${counted(files, "picture")} that differ`),
    group.frees ? element("span", { className: "freed" }, ` ${sizeText(group.frees)} would be freed`) : "");
  const few = group.members.length > 2;
  strip.hidden = !few;
  if (!few) return;
  const place = Math.max(0, Math.min(group.members.indexOf(right) - STRIP / 2, group.members.length - STRIP));
  const here = group.members.slice(place, place + STRIP);
  if (!here.includes(keeper)) here.unshift(keeper);
  strip.replaceChildren(...here.map((member) => {
    const image = element("img", { src: thumbOf(member.id).src, alt: member.name });
    const button = element("button", { type: "button", className: "tile", title: member.name, tabIndex: -1 }, image);
    button.classList.toggle("keeping", member === keeper);
    button.classList.toggle("asked", member === right);
    button.classList.toggle("done", hasDecision(member) && member !== keeper);
    keepFocus(button);
    button.addEventListener("click", () => { if (member !== keeper) next(member); });
    return button;
  }), group.members.length + group.left_out > here.length ? element("span", { className: "quiet" }, `${number(group.members.length + group.left_out - here.length)} more`) : "");
  const asked = strip.querySelector(".asked"); // the strip alone is moved: all below the filters would be, by scrollIntoView
  if (asked) strip.scrollLeft = asked.offsetLeft - strip.offsetLeft - (strip.clientWidth - asked.offsetWidth) / 2;
}

async function decide(decision, kept) {
  const made = { a: keeper.id, b: right.id, decision, keeper: kept && kept.id };
  const before = here();
  const done = await call("decide", made);
  say("");
  steps.push(before);
  group.decided = [...group.decided.filter((other) => !isOf(other, made.a, made.b)), made];
  if (decision === "same") keeper = kept;
  progress(done);
  const left = undecided();
  if (left.length) next(left[0]);
  else if (!done.group_finished && group.left_out) await restart(); // its others are sent now
  else await enter(at + 1);
}

const here = () => ({ choice, place: at, group: group.group, keeper: keeper.id, right: right.id });

function skip() {
  steps.push({ ...here(), skipped: true });
  const left = undecided(), following = left.slice(left.indexOf(right) + 1);
  return following.length && left.includes(right) ? next(following[0]) : enter(at + 1);
}

// Takes the last decision back and goes there; after a skip, only goes there.
async function back() {
  const step = steps.pop();
  if (step && step.skipped) return enter(step.place, step);
  let done;
  try { done = await call("back"); } catch (error) { if (step) steps.push(step); throw error; }
  progress(done);
  if (!step) await restart();
  else {
    ({ choice } = step);
    pages = new Map();
    if (!step.accepted && step.group !== done.group) steps.push(step); // it was another tab's
    await enter(step.place, step);
  }
  if (!step || step.group !== done.group) say(`${counted(done.taken_back, "decision")} taken back`);
}

function choose() {
  const other = keeper;
  keeper = right;
  next(other);
}

function step(by) {
  const all = others();
  next(all[(all.indexOf(right) + by + all.length) % all.length]);
}

function progress({ finished, left_bytes: left }) {
  if (!about) return;
  said.replaceChildren(
    element("strong", null, `${number(finished)} of ${counted(about.groups, "group")} decided`),
    left ? ` · ${sizeText(left)} left` : "",
    about.equal_clusters ? ` · ${counted(about.equal_clusters, "cluster")} of files equal byte for byte need no look` : "");
  meter.max = about.groups || 1;
  meter.value = finished;
}

// The filters above the cards, and the first page.
const textField = element("input", { type: "search", placeholder: "name or folder", ariaLabel: "find text in a path", spellcheck: false, autocomplete: "off" });
const folderField = element("input", { type: "search", placeholder: "any folder", ariaLabel: "folder", spellcheck: false, autocomplete: "off" });
const kindField = element("select", { ariaLabel: "show" });
const sortField = element("select", { ariaLabel: "order" },
  ...[["freed", "most to free"], ["size", "most pictures"], ["least", "least alike (MSE)"], ["most", "most alike (MSE)"], ["path", "path"]]
    .map(([value, label]) => element("option", { value }, label)));
const slider = element("input", { type: "range", min: 0, max: STEPS, value: STEPS, ariaLabel: "MSE from the one to keep, at most" });
const sliderText = element("output");
const bars = element("div", { className: "bars", ariaHidden: "true" });
const said = element("p", { className: "said", role: "status" });
const pagers = ["pages", "pages, below the cards"].map((ariaLabel) => {
  const back = element("button", { type: "button", ariaLabel: "previous page" }, "‹");
  const on = element("button", { type: "button", ariaLabel: "next page" }, "›");
  const at = element("input", { type: "number", min: 1, ariaLabel: "page" });
  const of = element("span", { className: "quiet" });
  back.addEventListener("click", () => turnTo(pageAt - 1, true));
  on.addEventListener("click", () => turnTo(pageAt + 1, true));
  at.addEventListener("change", () => turnTo(Number(at.value) - 1, true));
  return { element: element("nav", { className: "pager", ariaLabel }, back, at, of, on), back, on, at, of };
});

function turnTo(page, toTop = false, upTo = PER_PAGE) {
  drawPage(page, upTo);
  watchPictures();
  for (const pager of pagers) {
    pager.element.hidden = pagesOf() === 1;
    pager.back.disabled = pageAt === 0;
    pager.on.disabled = pageAt === pagesOf() - 1;
    pager.at.value = pageAt + 1;
    pager.at.max = pagesOf();
    pager.of.textContent = `of ${number(pagesOf())}`;
  }
  Object.assign(current, { at: pageAt * PER_PAGE, p: -1 });
  if (toTop) main.scrollIntoView();
}

// Once in a frame, however fast the slider moves.
let asked = false;
function refilter() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; filterNow(); });
}

function filterNow() {
  say(filter());
  turnTo(0);
}

function say({ freed, duplicates, bridges }) {
  const all = shown.length === count ? "" : ` of ${number(count)}`;
  said.replaceChildren(
    element("strong", null, `${number(shown.length)}${all} ${count === 1 ? "cluster" : "clusters"}`),
    ` · ${counted(duplicates, "duplicate")}${bridges ? ` · ${counted(bridges, "bridge")}` : ""} · `,
    element("strong", { className: "freed" }, sizeText(freed)), " would be freed");
  sliderText.textContent = chosen.most === Infinity ? "any" : `≤ ${chosen.most < 10 ? chosen.most.toFixed(2) : chosen.most.toFixed(1)}`;
  bars.querySelectorAll("i").forEach((bar, k, { length }) => bar.classList.toggle("off", (k + 0.5) / length > slider.value / STEPS));
}

function askForFolder(folder) {
  folderField.value = chosen.folder = folder;
  filterNow();
  folderField.focus();
}

function askForText(text) {
  textField.value = chosen.text = text;
  filterNow();
}

// The kinds that this run has, with how many pictures are of each.
function kinds() {
  const counts = new Map();
  const add = (kind) => counts.set(kind, (counts.get(kind) || 0) + 1);
  for (let p = 0; p < pictures.role.length; p += 1) {
    if (pictures.role[p] === KEEP) continue;
    add(pictures.role[p] === BRIDGE ? "bridge" : "duplicate");
    add(pictures.relation[p] < 0 ? "other" : relationWords[pictures.relation[p]]);
  }
  const labels = { "": "all", duplicate: "duplicates", bridge: "bridges: look first", ...words.relations, other: data.looked ? "not looked at" : "not the same bytes" };
  return Object.entries(labels).filter(([kind]) => !kind || counts.get(kind))
    .map(([kind, label]) => element("option", { value: kind }, kind ? `${label} (${number(counts.get(kind))})` : label));
}

const labelled = (text, ...children) => element("label", null, element("span", null, text), ...children);

// What the page opens with: its first cards. What takes the longer the more clusters there are comes after they are seen.
function start() {
  folderField.setAttribute("list", "folders");
  main.append(
    element("div", { className: "bar" },
      labelled("find", textField), labelled("folder", folderField), labelled("show", kindField),
      data.highest ? element("label", { className: "by-mse" }, element("span", null, "MSE ", sliderText), element("span", { className: "slide" }, bars, slider)) : "",
      labelled("order", sortField),
      element("button", { type: "button", className: "ask", title: "keys", onclick: () => help.showModal() }, "?")),
    element("div", { className: "line" }, said, pagers[0].element), list, pagers[1].element, box, help);
  turnTo(0, false, 8);
  afterPaint(() => {
    performance.mark("first card");
    setTimeout(complete, 20);
  });
}

const afterPaint = (act) => requestAnimationFrame(() => setTimeout(act));

function complete() {
  drawRest();
  bars.append(...histogram(48).map((height) => {
    const bar = element("i");
    bar.style.height = `${height * 100}%`;
    return bar;
  }));
  kindField.append(...kinds());
  main.append(element("datalist", { id: "folders" }, ...folders.slice(0, 2000).map((folder) => element("option", { value: folder }))));
  say(filter());
  textField.addEventListener("input", () => { chosen.text = textField.value; refilter(); });
  folderField.addEventListener("input", () => { chosen.folder = folderField.value.replace(/(.)\/$/, "$1"); refilter(); });
  kindField.addEventListener("change", () => { chosen.kind = kindField.value; refilter(); });
  sortField.addEventListener("change", () => { chosen.sort = sortField.value; refilter(); });
  slider.addEventListener("input", () => { chosen.most = mseAt(Number(slider.value)); refilter(); });
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", sayWhatIsLeftOut);
  else sayWhatIsLeftOut();
  performance.mark("complete");
}

// A page holds so many thumbnails; see report.py.
function sayWhatIsLeftOut() {
  const held = document.querySelectorAll("script[id^=thumbs-]").length * PER_BLOCK;
  if (held >= pictures.role.length) return;
  main.append(element("p", { className: "quiet left-out" }, `This page holds the thumbnails of the first ${counted(held, "picture")} `
    + `in the order of what they would free; the other ${number(pictures.role.length - held)} are drawn from their files, where these are there.`));
}

// Files that could not be read, as many at a time as a table bears.
function showFailures() {
  const body = document.getElementById("failed"), failures = read("failures-data");
  const more = element("button", { type: "button" });
  const draw = () => {
    const from = body.children.length;
    body.append(...failures.slice(from, from + 500).map(([path, why]) => element("tr", null, pathElement("td", null, path), element("td", null, why))));
    more.hidden = body.children.length === failures.length;
    more.textContent = `Show more of ${counted(failures.length, "file")}`;
  };
  more.addEventListener("click", draw);
  body.parentElement.after(more);
  draw();
}

document.getElementById("failures")?.addEventListener("toggle", showFailures, { once: true });
if (count) start();

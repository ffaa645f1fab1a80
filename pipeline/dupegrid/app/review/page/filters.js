// Which groups are asked for.
const NONE = { text: "", folder: "", role: "", rule: "", relation: "", decided: false };
const filter = { ...NONE };
const field = (label) => element("input", { type: "search", placeholder: label, ariaLabel: label, spellcheck: false, autocomplete: "off" });
const fields = {
  text: field("text in a path"),
  folder: field("under a folder"),
  relation: element("select", { ariaLabel: "relation" }),
  role: element("select", { ariaLabel: "role" }),
  rule: element("select", { ariaLabel: "rule" }),
  decided: element("input", { type: "checkbox" }),
};
const said = element("p", { className: "said", role: "status" });
const trouble = element("p", { className: "trouble", role: "alert", hidden: true });

function say(text, wrong = false) {
  trouble.textContent = text;
  trouble.hidden = !text;
  trouble.classList.toggle("wrong", wrong);
}

function fillFilters() {
  const options = (name, any, textFor) => fields[name].replaceChildren(
    element("option", { value: "" }, any),
    ...Object.entries(about.counts[name]).map(([word, many]) => element("option", { value: word }, `${textFor(word)} (${number(many)})`)));
  options("relation", "any relation", (word) => words.relation[word] || word);
  options("role", "duplicates, bridges", (word) => (word === "bridge" ? "bridges" : "duplicates"));
  options("rule", "any rule", (word) => words.rule[word] || word);
  fields.relation.hidden = !Object.keys(about.counts.relation).length;
}

function readFilter() {
  for (const name of Object.keys(NONE)) filter[name] = name === "decided" ? fields.decided.checked : fields[name].value.trim();
}

function showFilter() {
  for (const name of Object.keys(NONE)) {
    if (name === "decided") fields.decided.checked = filter.decided;
    else fields[name].value = filter[name];
  }
}

for (const [name, input] of Object.entries(fields)) {
  input.addEventListener("change", () => { readFilter(); inTurn(restart); });
  if (name === "text" || name === "folder") input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { input.value = ""; readFilter(); inTurn(restart); input.blur(); }
    if (event.key === "Enter") input.blur();
  });
}

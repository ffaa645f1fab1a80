// The few helpers by which text becomes elements: names only ever as text. The report and the review share them.
const number = (value) => value.toLocaleString("en");
const counted = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

function sizeText(bytes) {
  let size = bytes;
  for (const unit of ["bytes", "kB", "MB", "GB"]) {
    if (size < 1000) return unit === "bytes" ? `${size} ${unit}` : `${size.toFixed(1)} ${unit}`;
    size /= 1000;
  }
  return `${size.toFixed(1)} TB`;
}

const mseText = (mse) => (mse === null ? "" : `MSE ${mse < 10 ? mse.toFixed(1) : Math.round(mse)}`);

function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// A button that is clicked leaves the focus where it was, or Space and Enter would click it again.
function keepFocus(button) {
  button.addEventListener("mousedown", (event) => event.preventDefault());
}

// A path as text that breaks after its slashes, in a direction of its own.
function pathElement(tag, properties, text) {
  const made = element("bdi");
  text.split(/(?<=\/)/).forEach((part, k) => made.append(...(k ? [document.createElement("wbr"), part] : [part])));
  return element(tag, properties, made);
}

const dateText = (seconds) => (!seconds ? "" : new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " "));

// What is known of two, a row each: its name, its text, and what the better one has more of. What is equal is in quiet ink.
function factRows(two, facts) {
  return facts.map(([name, text, value]) => {
    const texts = two.map(text);
    if (!texts[0] && !texts[1]) return "";
    const cells = texts.map((here, k) => {
      const [mine, other] = value ? [value(two[k]), value(two[1 - k])] : [0, 0];
      return pathElement("td", { className: texts[0] === texts[1] ? "same" : mine > other ? "better" : mine < other ? "worse" : "" }, here);
    });
    return element("tr", null, element("th", { scope: "row" }, name), ...cells);
  }).filter(Boolean);
}

// What has to be done to picture p so that it lies as the other one does, as a CSS transform: see core/arrays.py.
function turnText(turn) {
  if (!turn) return "";
  const degrees = { 90: 90, 80: 180, 70: 270 }[turn.slice(-2)] || 0;
  return `rotate(${-degrees}deg)${turn.startsWith("flip") ? " scaleX(-1)" : ""}`;
}

// The dialog that lists keys: where they hold -> [those that are alike, what they do], as text.
function keysDialog(keys) {
  const row = ([key, what]) => element("tr", null,
    element("th", { scope: "row" }, ...key.split("  ").map((one) => element("kbd", null, one))), element("td", null, what));
  return element("dialog", { className: "help", ariaLabel: "keys" },
    element("h2", null, "Keys"),
    ...Object.entries(keys).map(([where, several]) => element("table", null,
      element("caption", null, where), element("tbody", null, ...several.map(row)))),
    element("form", { method: "dialog" }, element("button", null, "Close")));
}

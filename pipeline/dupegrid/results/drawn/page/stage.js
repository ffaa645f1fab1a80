// Two pictures over or beside each other: side by side, in turns, one over the other up to a line, or their difference;
// zoomed and moved together.
const MODES = { side: "side by side", blink: "blink", slider: "slider", difference: "difference" };
const BLINK_MS = 700;
const LEAST_SIDE = 24;  // pixels: one that is thinner is drawn as a strip, and no hairline
const view = { mode: "side", zoom: 1, x: 0, y: 0, front: 0, beats: null, gain: 4, isGainChosen: false, line: 0.5, aspect: 1, width: 0, natural: 1 };
const modeButtons = Object.entries(MODES).map(([mode, label]) => element("button", { type: "button", className: "mode", value: mode }, label));
const gain = element("input", { type: "range", min: 1, max: 32, value: 4, ariaLabel: "how much stronger the difference is drawn" });
const gainLabel = element("label", { className: "gain" }, "stronger", gain);
const stage = element("div", { className: "stage", tabIndex: -1 });
const layers = [0, 1].map(() => {
  const image = element("img", { alt: "", draggable: false });
  const label = element("p", { className: "label" });
  return { image, label, turn: "", element: element("div", { className: "layer" }, element("div", { className: "view" }, image), label) };
});
const equal = element("p", { className: "label equal" }, "equal, byte for byte: all is black");
stage.append(...layers.map((layer) => layer.element), equal);

// A picture starts as large as it can be.
const unzoomed = () => Object.assign(view, { zoom: 1, x: 0, y: 0, front: 0 });

function setMode(mode) {
  view.mode = mode;
  for (const button of modeButtons) button.ariaPressed = String(button.value === mode);
  stage.className = `stage ${mode}`;
  gainLabel.hidden = mode !== "difference";
  equal.hidden = mode !== "difference" || !view.equal;
  stopBlinking();
  if (mode === "blink" && !matchMedia("(prefers-reduced-motion: reduce)").matches) view.beats = setInterval(flip, BLINK_MS);
  place();
}

const stopBlinking = () => clearInterval(view.beats);

function flip() {
  view.front = 1 - view.front;
  place();
}

// Both pictures in boxes of one size, that of the left one: the comparison squeezes them onto one square as well.
function place() {
  const room = layers[0].element.getBoundingClientRect();
  const fits = Math.min(room.width, room.height * view.aspect);
  const width = Math.max(LEAST_SIDE, fits), height = Math.max(LEAST_SIDE, fits / view.aspect);
  for (const [k, layer] of layers.entries()) {
    const lies = /rotate\(-(90|270)deg\)/.test(layer.turn);
    Object.assign(layer.image.style, {
      width: `${lies ? height : width}px`,
      height: `${lies ? width : height}px`,
      transform: `translate(-50%, -50%) ${layer.turn}`,
    });
    layer.element.firstChild.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
    layer.element.classList.toggle("behind", view.mode === "blink" && k !== view.front);
    layer.element.style.clipPath = view.mode === "slider" && k ? `inset(0 0 0 ${view.line * 100}%)` : "";
    for (const box of layer.element.querySelectorAll(".outline")) {
      const [left, top, across, down] = box.of;
      Object.assign(box.style, { left: `${(left - 0.5) * width}px`, top: `${(top - 0.5) * height}px`, width: `${across * width}px`, height: `${down * height}px`, borderWidth: `${2 / view.zoom}px` });
    }
  }
  stage.style.setProperty("--gain", view.mode === "difference" ? view.gain : 1);
  stage.style.setProperty("--line", `${view.line * 100}%`);
  view.natural = width ? view.width / width / (window.devicePixelRatio || 1) : 1;
}

function zoomTo(zoom, x = 0, y = 0) {
  const next = Math.min(40, Math.max(1, zoom));
  const by = next / view.zoom;
  view.x = next === 1 ? 0 : x + (view.x - x) * by;
  view.y = next === 1 ? 0 : y + (view.y - y) * by;
  view.zoom = next;
  place();
}

const zoomToPixels = () => zoomTo(view.zoom === 1 ? Math.max(1.01, view.natural) : 1);

for (const button of modeButtons) {
  keepFocus(button);
  button.addEventListener("click", () => setMode(button.value));
}
gain.addEventListener("input", () => { Object.assign(view, { gain: Number(gain.value), isGainChosen: true }); place(); });
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const room = (event.target.closest(".layer") || stage).getBoundingClientRect();
  zoomTo(view.zoom * 1.0015 ** -event.deltaY, event.clientX - room.left - room.width / 2, event.clientY - room.top - room.height / 2);
}, { passive: false });
stage.addEventListener("pointerdown", (event) => { if (!event.target.closest("a")) stage.setPointerCapture(event.pointerId); });
stage.addEventListener("pointermove", (event) => {
  if (view.mode === "slider" && !stage.hasPointerCapture(event.pointerId)) {
    const room = stage.getBoundingClientRect();
    view.line = Math.min(1, Math.max(0, (event.clientX - room.left) / (room.width || 1)));
    place();
    return;
  }
  if (!stage.hasPointerCapture(event.pointerId) || view.zoom === 1) return;
  view.x += event.movementX;
  view.y += event.movementY;
  place();
});

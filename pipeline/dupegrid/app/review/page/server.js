// What the page asks of its server. The token came after the # of the address; it stays in this tab alone.
const KEPT = "dupegrid token";
let token = "", nonce = "";

async function call(name, body) {
  const answer = await fetch(`/${name}`, { method: "POST", headers: { "X-Dupegrid-Token": token, "Content-Type": "application/json" }, body: JSON.stringify(body || {}) })
    .catch(() => { throw new Error("the server does not answer: if it has ended, start 'dupegrid review' again"); });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error || answer.statusText);
  return said;
}

async function begin() {
  if (location.hash.length > 1) {
    sessionStorage.setItem(KEPT, location.hash.slice(1));
    history.replaceState(null, "", "/");
  }
  token = sessionStorage.getItem(KEPT) || "";
  const session = await call("session");
  nonce = session.nonce;
  return session;
}

// Thumbnails, the last ones of which are kept as they were decoded: another picture is drawn in the same frame.
const THUMBS_KEPT = 400;
const thumbs = new Map();

function thumbOf(id) {
  let thumb = thumbs.get(id);
  if (!thumb) {
    thumb = new Image();
    thumb.src = `/thumb/${id}?${nonce}`;
    thumbs.set(id, thumb);
    if (thumbs.size > THUMBS_KEPT) thumbs.delete(thumbs.keys().next().value);
  }
  return thumb;
}

// Originals: the address of what was loaded, or the reason why there is none.
const ORIGINALS_KEPT = 12;
const originals = new Map();

function originalOf(id) {
  let original = originals.get(id);
  if (!original) {
    original = loadOriginal(id);
    originals.set(id, original);
    if (originals.size > ORIGINALS_KEPT) {
      const [oldest, loaded] = originals.entries().next().value;
      originals.delete(oldest);
      loaded.then(({ address }) => { if (address) URL.revokeObjectURL(address); });
    }
  }
  return original;
}

// A script asks first whether there is one, as what is missing would be an error in the console.
async function loadOriginal(id) {
  try {
    const answer = await fetch(`/original/${id}`, { headers: { "X-Dupegrid-Token": token } });
    if (answer.headers.get("Content-Type").startsWith("application/json")) return { reason: (await answer.json()).error };
    const address = URL.createObjectURL(await answer.blob()), image = new Image();
    image.src = address;
    await image.decode();
    return { address };
  } catch (error) {
    return { reason: error.name === "EncodingError" ? "this browser does not show it" : "the server does not answer" };
  }
}

// How pairs differ, asked for once; a few ahead.
const PAIRS_KEPT = 200;
const pairs = new Map();

function pairOf(a, b) {
  const key = `${a} ${b}`;
  let pair = pairs.get(key);
  if (!pair) {
    pair = call("pair", { a, b });
    pair.then((found) => { pair.found = found; }, () => pairs.delete(key));
    pairs.set(key, pair);
    if (pairs.size > PAIRS_KEPT) pairs.delete(pairs.keys().next().value);
  }
  return pair;
}

// Which clusters are shown, in which order, and what their duplicates would free.
const chosen = { text: "", folder: "", kind: "", most: Infinity, sort: "freed" };
let shown = Uint32Array.from({ length: count }, (_, c) => c); // clusters, in the order of the page
let lowered = null; // names in lower case, made when first looked for

// Whether a picture is one of those asked for: by its kind, and by the slider, which takes away only what is known to be
// further from the keeper.
function passes(p) {
  const role = pictures.role[p];
  if (role === KEEP) return false;
  if (pictures.mse[p] !== null && pictures.mse[p] > chosen.most) return false;
  if (chosen.kind === "") return true;
  if (chosen.kind === "bridge" || chosen.kind === "duplicate") return role === (chosen.kind === "bridge" ? BRIDGE : DUPLICATE);
  if (chosen.kind === "other") return pictures.relation[p] < 0;
  return relationWords[pictures.relation[p]] === chosen.kind;
}

function pathTest() {
  const text = chosen.text.toLowerCase(), under = chosen.folder;
  const within = (f) => !under || f === under || f.startsWith(under.endsWith("/") ? under : `${under}/`);
  const inFolder = folders.map(within);
  if (!text) return under ? (p) => inFolder[pictures.folder[p]] : null;
  lowered = lowered || pictures.name.map((name) => name.toLowerCase());
  const lowerFolders = folders.map((f) => `${f.toLowerCase()}/`);
  const folderHas = lowerFolders.map((f) => f.includes(text));
  const acrossSlash = text.includes("/");
  return (p) => inFolder[pictures.folder[p]] && (folderHas[pictures.folder[p]] || lowered[p].includes(text)
    || (acrossSlash && (lowerFolders[pictures.folder[p]] + lowered[p]).includes(text)));
}

// What clusters are put in order by, the least first; else the order is that of the page.
const ORDERS = {
  size: (c) => -data.clusters.size[c],
  least: (c) => -farthest(c),
  most: farthest,
  path: (c) => pathOf(first[c]),
};

function farthest(c) {
  let mse = -1;
  for (let p = first[c]; p < first[c + 1]; p += 1) if (pictures.mse[p] > mse) mse = pictures.mse[p];
  return mse;
}

// Fill `shown`; returns what the line above the cards says.
function filter() {
  const onPath = pathTest();
  const found = [];
  let freed = 0, duplicates = 0, bridges = 0;
  for (let c = 0; c < count; c += 1) {
    let any = false, here = !onPath, sum = 0, ofDuplicates = 0, ofBridges = 0;
    for (let p = first[c]; p < first[c + 1]; p += 1) {
      if (!here && onPath(p)) here = true;
      if (!passes(p)) continue;
      any = true;
      sum += freedBy(p);
      if (pictures.role[p] === BRIDGE) ofBridges += 1;
      else ofDuplicates += 1;
    }
    if (!any || !here) continue;
    found.push(c);
    freed += sum;
    duplicates += ofDuplicates;
    bridges += ofBridges;
  }
  if (ORDERS[chosen.sort]) {
    const keys = new Array(count);
    for (const c of found) keys[c] = ORDERS[chosen.sort](c); // once each: a path is put together for it
    found.sort((a, b) => (keys[a] < keys[b] ? -1 : Number(keys[a] > keys[b])));
  }
  shown = Uint32Array.from(found);
  return { freed, duplicates, bridges };
}

// The slider is finer where the MSE is low, as most are.
const STEPS = 1000;
const mseAt = (step) => (step >= STEPS ? Infinity : data.highest * (step / STEPS) ** 2);

// How many pictures there are at each part of the slider, as bars.
function histogram(bars) {
  const counts = new Array(bars).fill(0);
  pictures.mse.forEach((mse, p) => {
    if (mse === null || pictures.role[p] === KEEP) return;
    counts[Math.min(bars - 1, Math.floor(Math.sqrt(mse / (data.highest || 1)) * bars))] += 1;
  });
  const top = Math.max(1, ...counts);
  return counts.map((value) => (value ? Math.max(0.08, Math.sqrt(value / top)) : 0));
}

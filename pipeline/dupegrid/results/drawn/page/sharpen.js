// Thumbnails are small: pictures in sight are drawn from their files where these are there, two at a time.
const LARGEST_BYTES = 12e6, LARGEST_PIXELS = 40e6, AFTER_MS = 250;
const queue = new Set();
let loading = 0;

const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) queue.add(target);
    else queue.delete(target);
  }
  setTimeout(sharpenNext, AFTER_MS);
});

let missing = 0; // in a row: where three are, the others are taken to be as well, and none is asked for any more

const canSharpen = (p) => data.files_here && missing < 3 && hrefOf(p).startsWith("file:") && pictures.bytes[p] <= LARGEST_BYTES
  && pictures.width[p] * pictures.height[p] <= LARGEST_PIXELS;

function watchPictures() {
  sight.disconnect();
  queue.clear();
  for (const figure of list.querySelectorAll("figure")) if (canSharpen(figure.picture)) sight.observe(figure);
}

function sharpenNext() {
  while (loading < 2 && queue.size) {
    const figure = queue.values().next().value;
    queue.delete(figure);
    sight.unobserve(figure);
    if (!figure.isConnected || !canSharpen(figure.picture)) continue;
    loading += 1;
    const original = new Image();
    original.decoding = "async";
    original.src = hrefOf(figure.picture);
    const image = figure.querySelector("img");
    original.decode().then(() => { image.src = original.src; missing = 0; }, () => { missing += 1; }).finally(() => { loading -= 1; sharpenNext(); });
  }
}

// The search page: a photo or a region of it goes to the API once; filters then ask again by the key of the answer.

const SMALLEST = 0.03; // of a side: a shorter drag is a click
const PAUSE = 250; // milliseconds between the last change of a number and the question
const SLOW = 4000;

const PROBLEMS = {
  empty_file: "This file is empty. Choose another photo.",
  unsupported_format: "This file is not a photo that can be read. Choose a JPEG, PNG, WebP, GIF or AVIF.",
  too_large_bytes: "This photo is larger than 10 MB. Choose a smaller one.",
  too_many_pixels: "This photo has too many pixels. Choose a smaller one.",
  bad_dimensions: "This photo has an odd size. Choose another one.",
  truncated: "This photo ends too early, as after a broken download. Choose another one.",
  corrupt: "This photo is damaged. Choose another one.",
  blank: "There is nothing to be seen here. Choose another photo or another region.",
  decode_timeout: "This photo takes too long to read. Choose another one.",
  decoder_crashed: "This photo cannot be read. Choose another one.",
  decoder_unavailable: "Photos cannot be searched for at present. Try again in a moment.",
  encoder_unavailable: "Photos cannot be searched for at present. Try again in a minute.",
  busy: "Many people are searching right now. Try again in a moment.",
  throttled: "Too many searches in a short time. Wait a little and try again.",
  url_search_off: "This shop does not search by address. Save the picture and choose the file.",
  url_not_fetched: "No picture could be fetched from this address. Save the picture and choose the file.",
  permission_denied: "You have logged in or out meanwhile. Load this page again.",
  not_loaded: "The picture of this product could not be loaded. Choose a photo instead.",
  not_sent: "The photo could not be sent. Check the connection and try again.",
};
const OTHERWISE = "The search has failed. Try again in a moment.";
// Where the same photo may well be found with later.
const PASSING = ["busy", "throttled", "decoder_unavailable", "encoder_unavailable", "not_sent"];

const part = (id) => document.getElementById(id);
const tool = part("visual-search");
const [stage, frame, picture, filters, results] = ["stage", "region", "picture", "filters", "results"].map(part);
const numbers = ["x", "y", "w", "h"].map((name) => part(`region-${name}`));

let photo = null; // a file, or the address of a picture as text
let region = null; // [x, y, width, height] in fractions of the photo; null is all of it
let key = ""; // stands for photo and region at the API, for ten minutes
let running = null; // what stops the search under way
let timer = 0;

function choose(chosen) {
  photo = chosen;
  key = "";
  URL.revokeObjectURL(picture.src);
  part("preview").hidden = true; // until it is seen to be a picture
  if (chosen instanceof File) picture.src = URL.createObjectURL(chosen);
  else picture.removeAttribute("src"); // other hosts are not told who looks at their pictures
  setRegion(null);
  tool.classList.add("search--begun");
  search({ reveal: true });
}

picture.addEventListener("load", () => {
  picture.width = picture.naturalWidth;
  picture.height = picture.naturalHeight;
  part("preview").hidden = false;
});

// Asking.

function send(signal) {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(filters)) if (value) query.set(name, value);
  const headers = {};
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/); // the page's own would be old after a login
  if (token) headers["X-CSRFToken"] = token[1];
  let body;
  if (photo instanceof File && !key) {
    body = new FormData();
    body.set("image", photo);
    // Rounded down, so that the region stays inside.
    if (region) body.set("region", region.map((value) => Math.floor(value * 1e4) / 1e4).join());
  } else {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(key ? { key } : { image_url: photo });
  }
  return fetch(`${tool.dataset.url}?${query}`, { method: "POST", headers, body, signal });
}

async function ask(signal) {
  if (photo.size > tool.dataset.maxBytes) throw problem("too_large_bytes");
  let response;
  try {
    response = await send(signal);
    if (response.status === 410 && key) {
      key = ""; // ten minutes are over
      response = await send(signal);
    }
  } catch {
    throw problem("not_sent");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw problem(answer.code, answer.detail);
  return answer;
}

function problem(code, detail) {
  return Object.assign(new Error(PROBLEMS[code] || detail || OTHERWISE), { code });
}

async function search({ reveal = false } = {}) {
  clearTimeout(timer);
  if (!photo || !filters.reportValidity()) return;
  running?.abort();
  const mine = new AbortController();
  const asked = region;
  running = mine;
  showSearching();
  const slow = setTimeout(() => say("Still searching: the first search takes longer."), SLOW);
  let show;
  try {
    const answer = await ask(mine.signal);
    show = () => {
      if (region === asked) key = answer.key;
      showResults(answer);
    };
  } catch (error) {
    show = () => showProblem(error);
  }
  clearTimeout(slow);
  if (running !== mine) return; // somebody has asked for something else since
  running = null;
  show();
  const top = part("results-title").getBoundingClientRect().top;
  if (reveal && top > innerHeight * 0.8) part("results-title").scrollIntoView(); // on a narrow screen
}

function searchSoon() {
  clearTimeout(timer);
  timer = setTimeout(() => search(), PAUSE);
}

// Showing.

function say(text) {
  part("status").textContent = text;
}

function showSearching() {
  say("Searching…");
  part("progress").hidden = false;
  results.setAttribute("aria-busy", "true");
  for (const id of ["problem", "again", "empty"]) part(id).hidden = true;
  part("problem").textContent = ""; // said anew when it comes again
}

function showEnd(cards) {
  part("progress").hidden = true;
  results.removeAttribute("aria-busy");
  results.replaceChildren(...cards);
}

function showResults(answer) {
  showEnd(answer.results.map(card));
  const many = answer.count === 1 ? "1 product" : `${answer.count} products`;
  say(answer.count ? `${many}, the most similar first` : "No products found");
  part("empty").hidden = answer.count > 0;
  part("empty").textContent = "Nothing in the shop matches these filters. Clear or widen them.";
}

function showProblem(error) {
  showEnd([]);
  say("");
  part("problem").textContent = error.message;
  part("problem").hidden = false;
  part("again").hidden = error.code in PROBLEMS && !PASSING.includes(error.code);
}

function card({ product, similarity, word_display: word }) {
  const item = part("result").content.cloneNode(true);
  const find = (selector) => item.querySelector(selector);
  find("a").href = product.url;
  find("img").src = product.image;
  find(".card__name").textContent = product.name;
  find(".price").textContent = `€${product.price}`;
  find(".sold-out").hidden = product.stock > 0;
  const percent = similarity === null ? "" : `${Math.round(similarity * 100)}%`;
  find(".card__likeness").textContent = word ? `${word} · ${percent}` : percent && `${percent} alike`;
  return item;
}

// The region.

function setRegion(wanted) {
  region = wanted;
  key = "";
  paint(wanted);
}

function paint(wanted) {
  const shown = wanted || [0, 0, 1, 1];
  frame.hidden = part("whole").hidden = !wanted;
  ["left", "top", "width", "height"].forEach((side, index) => {
    frame.style[side] = `${shown[index] * 100}%`;
    numbers[index].value = Math.round(shown[index] * 100);
  });
}

function pointOf(event) {
  const { left, top, width, height } = picture.getBoundingClientRect();
  const within = (value) => Math.min(Math.max(value, 0), 1);
  return [within((event.clientX - left) / width), within((event.clientY - top) / height)];
}

let start = null; // of a drag

function drawn(event) {
  const point = pointOf(event);
  const corner = [0, 1].map((axis) => Math.min(point[axis], start[axis]));
  return [...corner, ...[0, 1].map((axis) => Math.abs(point[axis] - start[axis]))];
}

function giveUp() {
  start = null;
  paint(region);
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.isPrimary) return;
  stage.setPointerCapture(event.pointerId);
  start = pointOf(event);
});

stage.addEventListener("pointermove", (event) => {
  if (start && event.isPrimary) paint(drawn(event));
});

stage.addEventListener("pointerup", (event) => {
  if (!start || !event.isPrimary) return;
  const wanted = drawn(event);
  giveUp();
  if (Math.min(wanted[2], wanted[3]) < SMALLEST) return;
  setRegion(wanted);
  search({ reveal: true });
});

stage.addEventListener("pointercancel", giveUp);
document.addEventListener("keydown", (event) => event.key === "Escape" && start && giveUp());

part("region-numbers").addEventListener("change", () => {
  const read = (index, least, most) => Math.min(Math.max(Number(numbers[index].value) / 100, least), most);
  const [x, y] = [read(0, 0, 0.99), read(1, 0, 0.99)];
  setRegion([x, y, read(2, 0.01, 1 - x), read(3, 0.01, 1 - y)]);
  searchSoon();
});

part("whole").addEventListener("click", () => {
  part("region-numbers").querySelector("summary").focus(); // this button goes away
  setRegion(null);
  search();
});

// A photo: chosen, dropped, pasted, or by its address.

part("photo").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) choose(file);
  event.target.value = ""; // so that the same file can be chosen again
});

const drop = tool.querySelector(".drop");
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  drop.classList.add("drop--over");
});

document.addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("drop--over"));

document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  drop.classList.remove("drop--over");
  const [file] = event.dataTransfer.files;
  if (file) choose(file);
});

document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  const text = event.clipboardData.getData("text").trim();
  if (file) choose(file);
  else if (address && !event.target.matches("input") && /^https?:\/\/\S+$/.test(text)) {
    address.value = text;
    choose(text);
  } else return;
  event.preventDefault();
});

const address = part("address"); // missing where the shop fetches nothing

part("address-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  choose(address.value);
});

// Narrowing down.

filters.addEventListener("change", searchSoon);
filters.addEventListener("reset", searchSoon);
filters.addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});

part("again").addEventListener("click", () => {
  part("results-title").focus(); // this button goes away
  search();
});

// A product's own picture, by the address of this page.

async function load(address) {
  showSearching();
  const response = await fetch(address).catch(() => null);
  const file = response?.ok ? new File([await response.blob()], "picture") : null;
  if (photo) return; // the visitor has chosen another one meanwhile
  if (file) choose(file);
  else showProblem(problem("not_loaded"));
}

tool.hidden = false;
if (tool.dataset.picture) load(tool.dataset.picture);

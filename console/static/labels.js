// The labelling queue: one example at a time, one key a class.
import { call, el, say, toast } from "./dom.js";
import { card, chip } from "./values.js";

const place = document.getElementById("card"), pending = document.getElementById("pending");
const who = document.getElementById("labeller"), keys = document.getElementById("keys");
const AGAIN = 3000;

let queue = [], left = 0, done = [], skipped = new Set(), isBusy = false;

try { who.value = localStorage.getItem("labeller") ?? ""; } catch { /* asked again next time */ }
who.addEventListener("change", () => { try { localStorage.setItem("labeller", who.value.trim()); } catch { /* same */ } });

async function load() {
  try {
    const found = await call("/v1/label-requests?count=200");
    left = found.pending;
    queue = found.requests.filter((request) => !skipped.has(request.id));
    if (!queue.length && skipped.size) { skipped.clear(); queue = found.requests; }
    draw(found.is_there);
  } catch (error) { toast(error.message); }
  if (!queue.length) setTimeout(load, AGAIN);
}

function draw(isThere = true) {
  pending.textContent = left ? `${left} to label` : "";
  keys.hidden = !queue.length && !done.length;
  if (!queue.length) {
    place.replaceChildren(el("div", { class: "empty" }, el("h2", {}, isThere ? "Nothing to label" : "Nobody asks for labels yet"),
      el("p", {}, isThere ? "Every example that was asked about has a label. New ones show up here by themselves." : "When flags are chosen for labelling, their examples show up here, worst first for what the model can learn from.")));
    return;
  }
  const request = queue[0];
  const fired = Object.entries(request.severities);
  place.replaceChildren(el("article", { class: "label-card" },
    el("div", { class: "meta" }, el("span", {}, request.model), request.predicted === null ? null : el("span", {}, "said ", chip(request.predicted)), fired.map(([assertion, severity]) => el("span", { class: "tag", title: `severity ${severity}` }, assertion))),
    card(request.example),
    el("div", { class: "classes", role: "group", "aria-label": "Classes" }, request.classes.map((name, index) => el("button", { type: "button", class: name === request.predicted ? "class predicted" : "class", onclick: () => label(name) }, index < 9 ? el("kbd", {}, String(index + 1)) : null, name, name === request.predicted ? el("small", {}, "predicted") : null)))));
}

async function label(value) {
  if (isBusy || !queue.length) return;
  isBusy = true;
  const request = queue[0];
  try {
    await call("/v1/labels", { method: "POST", json: { example: request.id, value, labeller: who.value.trim() || "console" } });
    queue.shift();
    if (!done.some((other) => other.id === request.id)) left = Math.max(0, left - 1);
    done.push(request);
    done = done.slice(-50);
    say(`Labelled ${value}. ${left} left.`);
    draw();
    if (!queue.length) load();
  } catch (error) { toast(error.message); }
  isBusy = false;
}

function skip() {
  if (!queue.length) return;
  skipped.add(queue[0].id);
  queue.push(queue.shift());
  draw();
}

function back() {
  const last = done.pop();
  if (!last) return;
  queue.unshift(last);
  draw();
  say("Back to the last one: its new label replaces the old.");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName)) return;
  const index = "123456789".indexOf(event.key);
  if (index >= 0 && queue[0]?.classes[index]) label(queue[0].classes[index]);
  else if (event.key.toLowerCase() === "s") skip();
  else if (event.key.toLowerCase() === "u") back();
});
load();

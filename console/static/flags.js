// Flags as they are raised, and the chosen one: the example beside what it was judged against.
import { ago, call, el, figure, once, past, stream, toast } from "./dom.js";
import { card, chip, fold, show } from "./values.js";

const PAGE = 50, SHOWN_MAX = 500;
const list = document.getElementById("list"), view = document.getElementById("flag");
const fresh = document.getElementById("fresh"), older = document.getElementById("older");
const filters = document.getElementById("filters"), count = document.getElementById("flag-count");
const empty = view.firstElementChild;
const TONES = { standing: "bad", provisional: "open", withdrawn: "off" };

const lines = new Map();
let waiting = [], before = null, chosen = null, total = 0;

const asked = () => ({ assertion: filters.elements.assertion.value, least: Number(filters.elements.min_severity.value) || 0, withdrawn: filters.elements.withdrawn.checked });
const fits = (flag, ask) => (!ask.assertion || flag.data.assertion.name === ask.assertion) && flag.data.severity >= ask.least && (ask.withdrawn || flag.data.state !== "withdrawn");
const tone = (state) => { const made = chip(state); made.className = `chip ${TONES[state]}`; return made; };

function line(flag) {
  const button = el("button", { type: "button", class: "row flag-row", onclick: () => choose(flag.id) });
  const item = el("li", { "data-id": flag.id }, button);
  lines.set(flag.id, item);
  draw(item, flag);
  return item;
}

function draw(item, flag) {
  item.dataset.state = flag.data.state;
  item.firstElementChild.replaceChildren(el("span", { class: "name" }, flag.data.assertion.name),
    el("span", { class: "meta" }, flag.data.state === "standing" ? null : tone(flag.data.state), el("span", { class: "number", title: "severity" }, figure(flag.data.severity)), el("time", { datetime: flag.time, title: flag.time }, ago(Date.parse(flag.time)))),
    el("span", { class: "why" }, flag.data.why || flag.data.assertion.rule || flag.subject));
}

const arrived = once(() => {
  fresh.hidden = !waiting.length;
  fresh.textContent = `${waiting.length} new ${waiting.length === 1 ? "flag" : "flags"}`;
  // With nothing read or scrolled yet there is nothing to keep in place.
  if (waiting.length && list.parentElement.scrollTop < 40) reveal();
  tally();
});

function reveal() {
  const added = waiting.splice(0).slice(-SHOWN_MAX).reverse();
  list.prepend(...added.filter((flag) => !lines.has(flag.id)).map(line));
  while (list.children.length > SHOWN_MAX) { lines.delete(list.lastElementChild.dataset.id); list.lastElementChild.remove(); older.hidden = false; before = list.lastElementChild.dataset.id; }
  fresh.hidden = true;
  list.querySelector(".nothing")?.remove();
}

function tally() { count.textContent = total ? `${total.toLocaleString()} ${total === 1 ? "flag" : "flags"}` : ""; }

stream("/v1/alerts?every_state=true", (flag) => {
  const known = lines.get(flag.id);
  if (known) draw(known, flag);
  else if (fits(flag, asked())) {
    const at = waiting.findIndex((other) => other.id === flag.id);
    if (at >= 0) waiting[at] = flag;
    else { waiting.push(flag); total += 1; }
    arrived();
  }
  offer([flag.data.assertion.name]);
  if (flag.id === chosen) choose(flag.id);
}, (is) => { if (is) load(); });

function offer(names) {
  const choice = filters.elements.assertion, there = new Set([...choice.options].map((option) => option.value));
  for (const name of names) if (!there.has(name)) choice.append(el("option", { value: name }, name));
}

async function load(more = false) {
  const ask = asked(), query = new URLSearchParams({ count: PAGE, min_severity: ask.least, withdrawn: ask.withdrawn });
  if (ask.assertion) query.set("assertion", ask.assertion);
  if (more && before) query.set("before", before);
  try {
    const found = await call(`/v1/flags?${query}`);
    if (!more) { lines.clear(); waiting = []; fresh.hidden = true; list.replaceChildren(); }
    list.append(...found.flags.filter((flag) => !lines.has(flag.id)).map(line));
    before = found.next;
    older.hidden = !found.next;
    total = found.total;
    tally();
    offer(found.assertions);
    if (!list.children.length) list.append(el("li", { class: "nothing empty small" }, found.assertions.length ? "No flag fits this filter." : "No assertion has raised a flag yet."));
    mark();
  } catch (error) { toast(error.message); }
}

function mark() {
  lines.forEach((item, id) => {
    if (id === chosen) item.firstElementChild.setAttribute("aria-current", "true");
    else item.firstElementChild.removeAttribute("aria-current");
  });
}

const panel = (kind, title, link, example) => el("section", { class: `panel ${kind}` },
  el("h3", {}, title, link), Object.entries(example).map(([stage, value]) => el("div", { class: "example" }, el("code", {}, stage), card(value))));

const to = (pipeline, request) => request ? el("a", { href: `/?${new URLSearchParams({ pipeline })}#${encodeURIComponent(request)}` }, "open request") : null;

async function choose(id) {
  chosen = id;
  mark();
  history.replaceState(null, "", `#${encodeURIComponent(id)}`);
  let found;
  try { found = await call(`/v1/flags/${encodeURIComponent(id)}`); } catch (error) { view.replaceChildren(empty); toast(error.message); return; }
  if (chosen !== id) return;
  const { flag, others } = found, { data } = flag, place = data.lineage;
  const shown = others.filter((other) => other.example), lost = others.length - shown.length;
  const facts = { subject: flag.subject, "raised at": flag.time, rule: data.assertion.rule || undefined, version: data.assertion.version, owner: data.assertion.owner || undefined, tags: data.assertion.tags, stages: place.stages, path: place.path, run: place.run, model: data.versions.model ?? undefined, revision: data.revision, trace: flag.traceparent ?? undefined };
  view.replaceChildren(
    el("header", { class: "flag-head" }, el("h2", {}, data.assertion.name),
      el("p", { class: "flag-why" }, data.why || data.assertion.rule),
      el("div", { class: "meta" }, tone(data.state), el("span", {}, `severity ${figure(data.severity)}`), el("span", {}, place.pipeline), el("time", { datetime: flag.time }, past(flag.time)), data.example_is_complete ? null : el("span", {}, "while it was still being written"))),
    el("div", { class: "sides" }, panel("this", "This example", to(place.pipeline, place.request), data.example),
      shown.slice(0, 5).map((other, index) => panel("other", shown.length > 1 ? `Judged against ${index + 1} of ${others.length}` : "Judged against", to(place.pipeline, other.request), other.example))),
    el("div", { class: "below" },
      lost ? el("p", { class: "none" }, `${lost} more ${lost === 1 ? "example" : "examples"} of its window can no longer be read.`) : null,
      data.correction ? el("section", { class: "panel" }, el("h3", {}, `Proposed correction: ${data.correction.kind}`), show(data.correction.changes)) : null,
      el("section", { class: "panel" }, fold("where it came from", () => show(Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined && value !== "")))))));
  if (matchMedia("(max-width: 860px)").matches) view.scrollIntoView({ block: "start" });
}

fresh.addEventListener("click", () => { list.parentElement.scrollTop = 0; reveal(); });
older.addEventListener("click", () => load(true));
filters.addEventListener("change", () => load());
filters.addEventListener("submit", (event) => event.preventDefault());
list.addEventListener("keydown", (event) => {
  const item = event.target.closest("li");
  const next = event.key === "ArrowDown" ? item?.nextElementSibling : event.key === "ArrowUp" ? item?.previousElementSibling : null;
  if (next?.firstElementChild) { event.preventDefault(); next.firstElementChild.focus(); }
});
setInterval(() => { for (const time of list.querySelectorAll("time")) time.textContent = ago(Date.parse(time.dateTime)); }, 10000);
if (location.hash) choose(decodeURIComponent(location.hash.slice(1)));

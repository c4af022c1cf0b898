// Lanes and workers, asked for once a second while one looks.
import { call, el, figure, seconds } from "./dom.js";
import { chip } from "./values.js";

const place = document.getElementById("workers"), count = document.getElementById("count");
const EVERY = 1000;
const TONES = { serving: "good", idle: "off", leaving: "open", silent: "bad" };
const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function spark(values) {
  const box = svg("svg", { class: "spark", viewBox: "0 0 60 30", preserveAspectRatio: "none", role: "img", "aria-label": `prompts over the last ${values.length} seconds, now ${values.at(-1) ?? 0}` });
  const most = Math.max(4, ...values), start = 60 - values.length;
  const points = values.map((value, index) => `${start + index},${29 - (value / most) * 27}`);
  if (points.length > 1) {
    box.append(svg("path", { class: "area", d: `M${start},30L${points.join("L")}L59,30Z` }), svg("path", { class: "stroke", d: `M${points.join("L")}` }));
  }
  return box;
}

const fact = (value, label) => el("div", {}, el("b", {}, value), el("span", {}, label));

function worker(row) {
  const word = chip(row.state);
  word.className = `chip ${TONES[row.state]}`;
  const cache = row.kv_blocks ? `${Math.round(100 * (1 - row.kv_blocks_free / row.kv_blocks))} %` : figure(row.prefix_blocks);
  return el("article", { class: "worker", "data-state": row.state },
    el("h3", {}, row.worker, word), spark(row.history),
    el("div", { class: "figures" },
      fact(String(row.running), "running"), fact(String(row.waiting), "waiting"), fact(figure(Math.round(row.pending_tokens)), "tokens to prefill"),
      fact(figure(row.tokens_per_second), "prefill tokens/s"), fact(`${figure(row.step_seconds * 1000)} ms`, "a step"), fact(cache, row.kv_blocks ? "KV cache in use" : "prefix blocks held"),
      row.prefix_hits === null ? null : fact(`${Math.round(100 * row.prefix_hits)} %`, "of prompts cached")),
    el("p", { class: "count" }, row.lanes.length ? `lanes ${row.lanes.join(", ")}` : "no lane: it stands by", row.state === "silent" ? `, silent for ${seconds(row.heard_seconds)}` : ""));
}

function draw(found) {
  count.textContent = found.workers.length ? `${found.workers.length} alive, ${found.models.length} ${found.models.length === 1 ? "model" : "models"}` : "";
  if (!found.models.length) {
    place.replaceChildren(el("div", { class: "empty" }, el("h2", {}, "No worker is running"), el("p", {}, "Workers serve the models of a pipeline's text stages. They show up here within a second of starting."), el("p", {}, el("code", {}, "descant worker"))));
    return;
  }
  place.replaceChildren(...found.models.map((model) => el("section", { class: "section" },
    el("h2", {}, model.model, el("span", { class: "count" }, `${model.lanes.length} lanes`)),
    el("div", { class: "lanes" }, model.lanes.map((lane) => el("div", { class: lane.worker ? "lane" : "lane orphan" }, el("b", {}, `lane ${lane.lane}`), el("span", { title: lane.worker ?? "" }, lane.worker ?? "nobody")))),
    el("div", { class: "workers" }, found.workers.filter((row) => row.model === model.model).map(worker)))));
}

async function look() {
  if (!document.hidden) {
    try { draw(await call("/v1/workers")); } catch { count.textContent = "the console does not answer"; }
  }
  setTimeout(look, EVERY);
}
look();

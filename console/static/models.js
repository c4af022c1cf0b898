// Model versions with what their gate measured, how far a retraining is, and how often assertions were right.
import { call, el, past, toast } from "./dom.js";
import { chip } from "./values.js";

const place = document.getElementById("models");
const EVERY = 3000;
const PHASES = ["snapshot", "trained", "gated", "published"];
const STATES = { current: "good", canary: "good", candidate: "open", held: "bad", retired: "off", "rolled-back": "bad" };
const SVG = "http://www.w3.org/2000/svg";
const percent = (value) => `${(100 * value).toFixed(1)} %`;

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A measured value between its bounds, on a scale from `low` to `high`. */
function interval(found, low, high) {
  const x = (value) => 5 + 120 * (Math.min(high, Math.max(low, value)) - low) / (high - low);
  const box = svg("svg", { viewBox: "0 0 130 20", "aria-hidden": "true" });
  box.append(svg("line", { class: "axis", x1: 0, x2: 130, y1: 10, y2: 10 }), svg("line", { class: "span", x1: x(found.low), x2: x(found.high), y1: 10, y2: 10 }), svg("circle", { cx: x(found.value), cy: 10, r: 3.5 }));
  return el("span", { class: "interval" }, box);
}

function measured(found, low, high, sign = false) {
  if (!found) return el("span", { class: "none" }, "first version");
  const plus = sign && found.value > 0 ? "+" : "";
  return el("div", {}, interval(found, low, high), el("div", {}, `${plus}${percent(found.value)}`), el("div", { class: "small" }, `${percent(found.low)} to ${percent(found.high)}`), el("div", { class: "small" }, `of ${found.n}`));
}

function version(row) {
  const state = chip(row.state), { gate } = row;
  state.className = `chip ${STATES[row.state] ?? "off"}`;
  const firings = Object.entries(gate.firings);
  return el("tr", {}, el("td", {}, el("b", {}, `v${row.version}`), el("div", { class: "small" }, past(row.created_at))),
    el("td", {}, state, row.share ? el("div", { class: "small" }, `${percent(row.share)} of the traffic`) : null), el("td", {}, measured(gate.accuracy, 0, 1)), el("td", {}, measured(gate.gain, -0.25, 0.25, true)),
    el("td", {}, firings.length ? firings.map(([name, [was, is]]) => el("div", {}, name, el("div", { class: "small" }, `${percent(was)} → ${percent(is)}`))) : el("span", { class: "none" }, "none")),
    el("td", { class: "num" }, String(row.labels)),
    el("td", {}, chipOf(gate.verdict), el("ul", { class: "reasons small" }, gate.reasons.map((reason) => el("li", {}, reason)))));
}

function worth(row) {
  const none = (words) => el("span", { class: "none" }, words);
  return el("tr", {}, el("td", {}, row.assertion), el("td", {}, row.model),
    el("td", {}, row.precision ? measured(row.precision, 0, 1) : none("nobody has judged one")),
    el("td", {}, row.fires === null ? none("not replayed") : `${percent(row.fired)} → ${percent(row.fires)}`),
    el("td", {}, row.reduction === null ? none("–") : percent(row.reduction)));
}

function chipOf(verdict) {
  const made = chip(verdict);
  made.className = `chip ${{ promote: "good", hold: "bad", ask: "open" }[verdict]}`;
  return made;
}

function job(found) {
  if (!found) return null;
  if (found.phase === "failed") return el("p", { class: "job problem" }, `The last retraining failed: ${found.reason ?? "no reason was given"}`);
  const at = PHASES.indexOf(found.phase);
  return el("div", { class: "job" }, el("span", {}, found.phase === "published" ? `Last retraining, ${past(found.at)}` : "Retraining"),
    el("ol", {}, PHASES.map((phase, index) => el("li", { class: index <= at ? "done" : index === at + 1 ? "now" : "" }, phase))));
}

function draw(found) {
  if (!found.models.length) {
    place.replaceChildren(el("div", { class: "empty" }, el("h2", {}, "No model has been trained yet"), el("p", {}, "When enough examples are labelled, a retraining starts by itself. Each version shows up here with what its gate measured, promoted or not.")));
    return;
  }
  const sections = found.models.map((model) => el("section", { class: "section" },
    el("h2", {}, model.name, el("span", { class: "count" }, `${model.labels} labels, ${model.pending} to label`)), job(model.job),
    model.versions.length ? el("div", { class: "table", tabindex: 0, role: "region", "aria-label": `Versions of ${model.name}` }, el("table", {},
      el("thead", {}, el("tr", {}, ["Version", "State", "Accuracy", "Gain", "Assertions fire", "Labels", "Gate"].map((name) => el("th", { scope: "col", class: name === "Labels" ? "num" : null }, name)))),
      el("tbody", {}, model.versions.map(version)))) : el("p", { class: "none" }, "no version yet")));
  if (found.assertions.length) sections.push(el("section", { class: "section" }, el("h2", {}, "What each assertion is worth"), el("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Assertions" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Assertion", "Model", "Precision: flags that people confirmed", "Fires, on replayed traffic", "Reduction"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, found.assertions.map(worth))))));
  place.replaceChildren(...sections);
}

let shown = "";
async function look() {
  if (!document.hidden) {
    try {
      const found = await call("/v1/model-versions"), text = JSON.stringify(found);
      if (text !== shown) { shown = text; draw(found); }
    } catch (error) { toast(error.message); }
  }
  setTimeout(look, EVERY);
}
look();

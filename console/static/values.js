// How any JSON value is shown: what it says first, its fields below, long things folded.
import { el } from "./dom.js";

const HEADLINES = ["text", "sentence", "claim", "answer", "title", "summary"];
const STATES = ["label", "verdict", "status", "state"];
const GOOD = new Set(["supported", "true", "yes", "ok", "pass", "passed", "correct", "promote"]);
const BAD = new Set(["refuted", "false", "no", "fail", "failed", "wrong", "error"]);
const FOLD_FIELDS = 6, FOLD_ITEMS = 8, DEPTH = 4;

const isRecord = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

export function chip(word) {
  const known = String(word).toLowerCase();
  const tone = GOOD.has(known) ? "good" : BAD.has(known) ? "bad" : "open";
  return el("span", { class: `chip ${tone}` }, String(word));
}

/** The field that tells how an item came out, if it has one: {key, value}. */
export function outcome(value) {
  if (!isRecord(value)) return null;
  const key = STATES.find((name) => typeof value[name] === "string" && value[name].length < 24);
  return key ? { key, value: value[key] } : null;
}

/** The field that reads as a sentence. */
export function headline(value) {
  if (!isRecord(value)) return null;
  return HEADLINES.find((name) => typeof value[name] === "string" && value[name]) ?? null;
}

/** One element for any value. `quiet`: fields that are told elsewhere already. */
export function show(value, quiet = new Set(), depth = 0) {
  if (value === null || value === undefined) return el("span", { class: "none" }, "none");
  if (typeof value === "string") return el("span", { class: "text" }, value);
  if (typeof value === "number") return el("span", { class: "number" }, Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4))));
  if (typeof value === "boolean") return el("span", { class: "number" }, String(value));
  if (depth >= DEPTH) return el("code", {}, JSON.stringify(value));
  return Array.isArray(value) ? items(value, depth) : record(value, quiet, depth);
}

function items(value, depth) {
  if (!value.length) return el("span", { class: "none" }, "none");
  if (value.every((each) => typeof each !== "object" || each === null)) {
    const shown = value.slice(0, 12).map((each) => el("span", { class: "tag" }, each === null ? "none" : String(each)));
    if (value.length > 12) shown.push(el("span", { class: "none" }, `and ${value.length - 12} more`));
    return el("span", { class: "tags" }, shown);
  }
  const made = (each) => el("li", {}, card(each, depth + 1));
  const list = el("ol", { class: "values" }, value.slice(0, FOLD_ITEMS).map(made));
  if (value.length <= FOLD_ITEMS) return list;
  return el("div", {}, list, fold(`${value.length - FOLD_ITEMS} more`, () => el("ol", { class: "values" }, value.slice(FOLD_ITEMS).map(made))));
}

function record(value, quiet, depth) {
  const keys = Object.keys(value).filter((key) => !quiet.has(key));
  if (!keys.length) return el("span", { class: "none" }, quiet.size ? "" : "empty");
  const rows = (some) => el("dl", { class: "fields" }, some.map((key) => el("div", {}, el("dt", {}, key.replaceAll("_", " ")), el("dd", {}, show(value[key], new Set(), depth + 1)))));
  if (keys.length <= FOLD_FIELDS) return rows(keys);
  return el("div", {}, rows(keys.slice(0, FOLD_FIELDS)), fold(`${keys.length - FOLD_FIELDS} more fields`, () => rows(keys.slice(FOLD_FIELDS))));
}

/** A record with its outcome and its sentence first. */
export function card(value, depth = 0, folded = false) {
  if (!isRecord(value)) return show(value, new Set(), depth);
  const state = outcome(value), sentence = headline(value);
  if (!state && !sentence) return show(value, new Set(), depth);
  const told = new Set([state?.key, sentence].filter(Boolean));
  const head = el("p", { class: "headline" }, state ? chip(state.value) : null, state && sentence ? " " : null, sentence ? value[sentence] : null);
  const rest = Object.keys(value).some((key) => !told.has(key));
  if (!rest) return head;
  return el("div", { class: "card-value" }, head, folded ? fold("details", () => show(value, told, depth)) : show(value, told, depth));
}

/** Made when it is opened, so that what nobody looks at costs nothing. */
export function fold(label, make) {
  const box = el("details", { class: "fold" }, el("summary", {}, label));
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(make()); });
  return box;
}

// The live page: who asked what, the ask box, and the chosen request while it is answered.
import { call, el, past, say, seconds, stream, toast } from "./dom.js";
import { Tree } from "./tree.js";
import { card } from "./values.js";

const page = document.getElementById("requests");
const pipeline = page.dataset.pipeline, flow = JSON.parse(page.dataset.flow), answerStage = page.dataset.answer;
const base = `/v1/pipelines/${encodeURIComponent(pipeline)}`;
const list = document.getElementById("list"), view = document.getElementById("request");
const empty = document.getElementById("request-empty"), ask = document.getElementById("ask");
const LIST_MAX = 100;

const known = new Map();
let chosen = null, leave = () => {};

function row(summary) {
  let line = known.get(summary.id);
  if (!line) {
    line = el("li", {}, el("button", { type: "button", class: "row", onclick: () => choose(summary.id) },
      el("span", { class: "dot" }), el("span", { class: "row-title" }), el("span", { class: "row-more" })));
    known.set(summary.id, line);
    list.prepend(line);
    document.getElementById("list-empty").hidden = true;
    while (list.children.length > LIST_MAX) {
      known.forEach((other, id) => { if (other === list.lastElementChild) known.delete(id); });
      list.lastElementChild.remove();
    }
  }
  line.summary = summary;
  line.dataset.state = summary.state;
  line.querySelector(".row-title").textContent = summary.title || summary.id;
  line.querySelector(".dot").setAttribute("aria-label", summary.state);
  line.querySelector(".dot").setAttribute("role", "img");
  tell(line);
}

function tell(line) {
  const { state, seconds: took, opened_at: at } = line.summary;
  line.querySelector(".row-more").textContent = state === "running" ? seconds((Date.now() - at * 1000) / 1000) : took === null ? state : seconds(took);
  line.firstElementChild.title = `${state}, ${past(at * 1000)}`;
}

function mark() {
  known.forEach((line, id) => {
    if (id === chosen) line.firstElementChild.setAttribute("aria-current", "true");
    else line.firstElementChild.removeAttribute("aria-current");
  });
}

function choose(id) {
  leave();
  chosen = id;
  mark();
  history.replaceState(null, "", `?${new URLSearchParams({ pipeline })}#${encodeURIComponent(id)}`);
  let tree = new Tree(flow, answerStage);
  const title = el("h2", {}, ""), state = el("span", { class: "state" }, "running"), clock = el("span", { class: "clock" });
  const cancel = el("button", { type: "button", class: "quiet", onclick: () => call(`${base}/requests/${encodeURIComponent(id)}`, { method: "DELETE" }).catch((error) => toast(error.message)) }, "Cancel");
  const end = el("section", { class: "answer", hidden: true, "aria-label": "Answer" });
  const head = el("div", { class: "request-head" }, title, el("div", { class: "request-more" }, state, clock, cancel, el("code", { class: "id", title: "request id" }, id)));
  const slot = el("div", {}, tree.element);
  view.replaceChildren(head, slot, end);
  view.dataset.state = "running";
  let since = null, isOver = false, again = false;
  const tick = setInterval(() => { if (since && !isOver) clock.textContent = seconds((Date.now() - since) / 1000); }, 100);

  const on = (event) => {
    switch (event.type) {
      case "request":
        // First of everything, also after a reconnect: what is told from here on replaces what was shown.
        since = event.opened_at * 1000;
        title.textContent = known.get(id)?.summary.title || titleOf(event.input);
        if (again) { tree = new Tree(flow, answerStage); slot.replaceChildren(tree.element); }
        again = again || tree.nodes.size > 0;
        break;
      case "answer":
        isOver = true;
        stop();
        clearInterval(tick);
        clock.textContent = seconds(event.at);
        cancel.hidden = true;
        view.dataset.state = event.error ? "failed" : "answered";
        state.textContent = event.error?.code === "cancelled" ? "cancelled" : view.dataset.state;
        end.hidden = false;
        end.replaceChildren(el("h3", {}, event.error ? "Error" : "Answer"),
          event.error ? el("p", { class: "problem" }, `${event.error.message} (${event.error.code}${event.error.stage ? `, in ${event.error.stage}` : ""})`) : card(event.value));
        say(event.error ? `Failed: ${event.error.message}` : "Answered.");
        break;
      default: tree.on(event);
    }
  };
  const stop = stream(`${base}/requests/${encodeURIComponent(id)}/events`, on);
  leave = () => { stop(); clearInterval(tick); };
}

const titleOf = (input) => typeof input === "string" ? input : Object.values(input ?? {}).find((value) => typeof value === "string") ?? JSON.stringify(input ?? "");

function value() {
  const fields = [...ask.querySelectorAll("[data-kind]")];
  const read = (field) => {
    if (field.dataset.kind === "boolean") return field.checked;
    if (field.value === "" && !field.required) return undefined;
    if (field.dataset.kind === "json") return JSON.parse(field.value);
    return ["integer", "number"].includes(field.dataset.kind) ? Number(field.value) : field.value;
  };
  if (fields.length === 1 && !fields[0].name) return read(fields[0]);
  return Object.fromEntries(fields.map((field) => [field.name, read(field)]).filter(([, given]) => given !== undefined));
}

ask.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = ask.querySelector("[type=submit]");
  button.disabled = true;
  try {
    const { id } = await call(`${base}/requests`, { method: "POST", json: { input: value() } });
    choose(id);
    const first = ask.querySelector("textarea, input");
    first.value = "";
    grow(first);
    first.focus();
    say("Submitted.");
  } catch (error) {
    toast(error instanceof SyntaxError ? "The request is not JSON." : error.message);
  }
  button.disabled = false;
});

const grow = (area) => { if (area.tagName === "TEXTAREA") { area.style.height = "auto"; area.style.height = `${Math.min(area.scrollHeight, 200)}px`; } };
ask.addEventListener("input", (event) => grow(event.target));
ask.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && event.target.tagName === "TEXTAREA") { event.preventDefault(); ask.requestSubmit(); }
});

list.addEventListener("keydown", (event) => {
  const line = event.target.closest("li");
  const next = event.key === "ArrowDown" ? line?.nextElementSibling : event.key === "ArrowUp" ? line?.previousElementSibling : null;
  if (next) { event.preventDefault(); next.firstElementChild.focus(); }
});

async function load() {
  try {
    for (const summary of (await call(`${base}/requests?count=${LIST_MAX}`)).reverse()) row(summary);
    mark();
  } catch (error) { toast(error.message); }
}

const connection = document.getElementById("connection");
function connected(is) {
  connection.dataset.state = is ? "live" : "away";
  connection.textContent = is ? "live" : "reconnecting";
  if (is) { load(); health(); }
}

async function health() {
  try {
    const found = (await call("/v1/pipelines")).find((each) => each.name === pipeline);
    connection.dataset.state = found.is_connected ? "live" : "away";
    connection.textContent = found.is_connected ? "live" : "waiting for the pipeline";
    connection.title = found.problem;
    if (!found.is_connected) setTimeout(health, 2000);
  } catch { /* the stream's own reconnect tells of it */ }
}

stream(`${base}/events`, (summary) => { row(summary); mark(); }, connected);
setInterval(() => known.forEach((line) => { if (line.dataset.state === "running") tell(line); }), 500);
if (location.hash) choose(decodeURIComponent(location.hash.slice(1)));
else view.replaceChildren(empty);

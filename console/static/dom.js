// Building elements. Text only ever becomes text: nothing here parses markup.

/** el("p", {class: "x", onclick: f}, "text", child, null) */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Runs `draw` once before the next frame, however often it is called. */
export function once(draw) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => { waits = false; draw(); });
  };
}

/** Tells people who do not see the screen. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

export function toast(text) {
  const note = el("div", { class: "toast" }, text);
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), 6000);
}

/** JSON from the gateway. Throws an Error with its sentence. */
export async function call(path, options = {}) {
  const asked = { ...options, headers: { accept: "application/json", ...options.headers } };
  if (options.json !== undefined) {
    asked.body = JSON.stringify(options.json);
    asked.headers["content-type"] = "application/json";
  }
  const answer = await fetch(path, asked);
  if (answer.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(found.error?.message ?? `the console answered ${answer.status}`);
  return found;
}

/** Server-sent events as JSON documents; it reconnects by itself. Returns a function that ends it. */
export function stream(path, onDocument, onState = () => {}) {
  let source = null, ended = false, wait = 500, timer = 0;
  const open = () => {
    source = new EventSource(path);
    source.onopen = () => { wait = 500; onState(true); };
    source.onmessage = (event) => onDocument(JSON.parse(event.data));
    source.onerror = () => {
      source.close();
      if (ended) return;
      onState(false);
      timer = setTimeout(open, wait);
      wait = Math.min(wait * 2, 8000);
    };
  };
  open();
  return () => { ended = true; clearTimeout(timer); source.close(); };
}

export const seconds = (value) => value < 10 ? `${value.toFixed(1)} s` : value < 120 ? `${Math.round(value)} s` : `${Math.round(value / 60)} min`;

export function ago(time) {
  const age = Math.max(0, (Date.now() - time) / 1000);
  if (age < 5) return "now";
  if (age < 60) return `${Math.floor(age)} s`;
  if (age < 3600) return `${Math.floor(age / 60)} min`;
  if (age < 86400) return `${Math.floor(age / 3600)} h`;
  return `${Math.floor(age / 86400)} d`;
}

/** "5 s ago" */
export function past(time) {
  const age = ago(typeof time === "number" ? time : Date.parse(time));
  return age === "now" ? "just now" : `${age} ago`;
}

export const figure = (value) => value >= 10000 ? `${Math.round(value / 1000)} k` : value >= 100 ? String(Math.round(value)) : String(Math.round(value * 100) / 100);

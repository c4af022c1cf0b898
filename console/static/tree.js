// One request as a tree: stages in the order of the flow, and below each fork one branch an item.
import { el, once } from "./dom.js";
import { card, fold, headline, outcome, chip, show } from "./values.js";

/** `flow`: the pipeline's stages, as /v1/pipelines describes them. */
export class Tree {
  constructor(flow, answer) {
    this.flow = flow;
    this.answer = answer;
    this.byName = new Map(flow.map((stage) => [stage.name, stage]));
    this.element = el("div", { class: "tree" });
    this.root = this.branch(this.element, []);
    this.nodes = new Map();
    this.dirty = new Set();
    this.paint = once(() => this.flush());
  }

  /** A place for what each stage of this depth writes, and for the branches of each fork, in the flow's order. */
  branch(element, forks) {
    const slots = new Map();
    for (const stage of this.flow) {
      const isFork = stage.kind === "fork";
      const below = stage.forks.slice(0, isFork ? -1 : undefined);
      const isOwn = isFork && forks.at(-1) === stage.name && same(stage.forks, forks);
      if (isOwn) { slots.set(stage.name, element.appendChild(el("div", { class: "slot own" }))); continue; }
      if (!same(below, forks)) continue;
      const slot = el(isFork ? "ol" : "div", { class: isFork ? "branches" : "slot", "data-stage": stage.name, hidden: true });
      if (isFork) slot.setAttribute("aria-label", stage.name);
      element.append(slot);
      slots.set(stage.name, slot);
    }
    return { element, slots, branches: new Map() };
  }

  /** The branch that a path leads to; made where it is new. */
  find(stage, path) {
    let at = this.root;
    stage.forks.forEach((fork, depth) => {
      const index = path[depth], key = `${fork}:${index}`;
      let next = at.branches.get(key);
      if (!next) {
        const list = at.slots.get(fork);
        list.hidden = false;
        const item = el("li", { class: "branch", "data-index": index });
        const after = [...list.children].find((other) => Number(other.dataset.index) > index);
        list.insertBefore(item, after ?? null);
        next = this.branch(item, stage.forks.slice(0, depth + 1));
        at.branches.set(key, next);
      }
      at = next;
    });
    return at;
  }

  node(event) {
    const key = `${event.stage}/${event.path.join(".")}`;
    let node = this.nodes.get(key);
    if (!node) {
      const stage = this.byName.get(event.stage);
      if (!stage) return null;
      const slot = this.find(stage, event.path).slots.get(event.stage);
      node = { key, stage, slot, path: event.path, text: "", value: undefined, state: "writing" };
      this.nodes.set(key, node);
    }
    return node;
  }

  on(event) {
    if (event.type === "gone") return this.remove(event);
    const node = this.node(event);
    if (!node) return;
    switch (event.type) {
      case "text":
        node.text = event.position === 0 ? event.text : node.text + event.text;
        node.state = "writing";
        break;
      case "text-end": node.state = "done"; node.tokens = event.tokens; break;
      case "item": node.state = "done"; node.value = event.value; break;
      case "dropped": node.state = "dropped"; break;
      case "failed": node.state = "failed"; node.value = event; break;
    }
    this.dirty.add(node);
    this.paint();
  }

  remove(event) {
    const key = `${event.stage}/${event.path.join(".")}`;
    const node = this.nodes.get(key);
    if (!node) return;
    this.nodes.delete(key);
    this.dirty.delete(node);
    node.view?.remove();
    const item = node.slot.closest(".branch");
    if (item && !item.querySelector(".node")) {
      item.hidden = true;
    }
  }

  flush() {
    for (const node of this.dirty) this.draw(node);
    this.dirty.clear();
  }

  draw(node) {
    const { stage, slot } = node;
    slot.hidden = false;
    const item = slot.closest(".branch");
    if (item) item.hidden = false;
    if (!node.view) {
      node.body = el("div", { class: "node-body" });
      node.view = el("div", { class: "node", "data-stage": stage.name }, el("span", { class: "node-name" }, stage.name), node.body);
      slot.append(node.view);
    }
    node.view.dataset.state = node.state;
    node.view.classList.toggle("text-node", stage.is_text);
    node.view.classList.toggle("root", node.path.length === 0);
    if (stage.is_text && node.state !== "failed") this.drawText(node);
    else node.body.replaceChildren(...this.drawn(node));
    if (item && outcome(node.value)) item.dataset.outcome = String(outcome(node.value).value).toLowerCase();
  }

  drawText(node) {
    if (!node.shown) {
      node.shown = el("p", { class: "generated" });
      node.body.replaceChildren(node.shown);
    }
    node.shown.textContent = node.text.trim() || (node.state === "done" ? "wrote nothing" : "");
  }

  drawn(node) {
    if (node.state === "dropped") return [el("span", { class: "none" }, "filtered out")];
    if (node.state === "failed") return [el("p", { class: "problem" }, `${node.value.code}: ${node.value.message}`)];
    const value = node.value;
    const isOwn = node.slot.classList.contains("own");
    if (isOwn) return [card(value, 0, true)];
    const state = outcome(value), sentence = headline(value);
    if (!node.path.length) return [card(value)];
    if (typeof value !== "object" || value === null) return [show(value)];
    // Inside of a branch, one line an item; what it repeats of the branch's own item stays folded.
    return [el("div", { class: "line" }, state ? chip(state.value) : null, confidence(value), fold(!state && sentence ? value[sentence] : "details", () => show(value, new Set([state?.key].filter(Boolean)))))];
  }
}

function confidence(value) {
  const found = value.confidence;
  if (typeof found !== "number" || found < 0 || found > 1) return null;
  return el("span", { class: "confidence" }, el("meter", { min: 0, max: 1, value: found, "aria-label": "confidence" }), `${Math.round(found * 100)} %`);
}

const same = (one, other) => one.length === other.length && one.every((each, index) => each === other[index]);

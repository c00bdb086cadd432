"use strict";
// Shared by all parts of the page. Texts of the data go into the page only through `textContent`, so that nothing in them is markup.
const A = {};
A.page = JSON.parse(document.getElementById("data").textContent);

// An element: `el("p", {class: "soft"}, "text", child)`. Attributes are set as attributes, functions as listeners.
A.el = (tag, attributes, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children) {
    if (child !== null && child !== undefined) node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
};

// Text in which `backticks` stand for code.
A.code = (text) => {
  const out = document.createDocumentFragment();
  String(text).split("`").forEach((part, i, all) => {
    const isCode = i % 2 === 1 && i < all.length - 1;
    out.append(isCode ? A.el("code", null, part) : document.createTextNode(i % 2 === 1 ? "`" + part : part));
  });
  return out;
};

A.number = (x) => {
  if (x === null || x === undefined) return "";
  if (typeof x !== "number") return String(x);
  if (Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
  if (x !== 0 && (Math.abs(x) < 0.0005 || Math.abs(x) >= 1e6)) return x.toExponential(2);
  return x.toFixed(Math.abs(x) >= 100 ? 1 : 3);
};

// A token with its spaces and line breaks visible.
A.token = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅";
A.short = (text, most) => {
  const all = Array.from(text);
  return all.length > most ? all.slice(0, most - 1).join("") + "…" : text;
};

A.tones = { good: "Good", plain: "Note", doubt: "Doubtful", bad: "Failed" };

// A colour between the ends of the scale, which is centred at 0; the theme's own colours.
A.colour = (value, most) => {
  const share = most > 0 ? Math.min(1, Math.abs(value) / most) : 0;
  return `color-mix(in oklab, var(${value < 0 ? "--neg" : "--pos"}) ${(100 * share).toFixed(1)}%, var(--mid))`;
};
A.group = (name, i) => (name === "in" ? "var(--pos)" : name === "out" ? "var(--neg)" : `var(--s${i % 4})`);
A.most = (values) => values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);

// One box for what is pointed at, and the same words for screen readers.
A.tip = (() => {
  const box = A.el("div", { class: "tip", role: "tooltip", hidden: "" });
  const spoken = A.el("div", { class: "hidden", "aria-live": "polite" });
  document.addEventListener("DOMContentLoaded", () => document.body.append(box, spoken));
  document.body.append(box, spoken);
  const show = (element, lines) => {
    const text = lines.filter((line) => line !== "").join("\n");
    box.textContent = text;
    spoken.textContent = text;
    box.hidden = false;
    const at = element.getBoundingClientRect();
    const own = box.getBoundingClientRect();
    const left = Math.max(8, Math.min(at.left + at.width / 2 + 12, document.documentElement.clientWidth - own.width - 8));
    const below = at.bottom + 10 + own.height < window.innerHeight;
    box.style.left = `${left + window.scrollX}px`;
    box.style.top = `${(below ? at.bottom + 10 : at.top - own.height - 10) + window.scrollY}px`;
  };
  const hide = () => { box.hidden = true; };
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  return { show, hide };
})();

// Makes the parts of a drawing speak: `items` are {element, lines, x, y}; with the pointer, or with the arrow keys when the drawing
// has the focus. `x` and `y` are places on a grid; without them, keys go from one to the next.
A.speak = (svg, items, label) => {
  let active = -1;
  const choose = (i) => {
    if (active >= 0) items[active].element.classList.remove("active");
    active = i;
    if (i < 0) return A.tip.hide();
    items[i].element.classList.add("active");
    A.tip.show(items[i].element, items[i].lines);
  };
  items.forEach((item, i) => {
    item.element.addEventListener("pointerenter", () => choose(i));
    item.element.addEventListener("pointerleave", () => choose(-1));
  });
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", `${label}. Arrow keys read the values.`);
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  svg.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || items.length === 0) return;
    event.preventDefault();
    if (active < 0) return choose(0);
    const here = items[active];
    const grid = here.x !== undefined && here.y !== undefined;
    const next = grid
      ? items.findIndex((item) => item.x === here.x + step[0] && item.y === here.y + step[1])
      : Math.max(0, Math.min(items.length - 1, active + step[0] + step[1]));
    if (next >= 0) choose(next);
  });
  svg.addEventListener("blur", () => choose(-1));
};

// Elements that the widgets are made of. Everything is plain DOM inside the widget's own element.
import { maps } from "./colors.mjs";

// The style sheet, put here by index.mjs: the bundler reads it as text, plain node could not.
export const style = { kind: "", css: "" };

// h("div.wide", { title: "…" }, child, …): classes get the prefix grae-, properties may be left out.
// "div." is the widget's own root, of class grae.
export function h(name, ...children) {
  const [tag, ...classes] = name.split(".");
  const el = document.createElement(tag);
  const props = children[0]?.constructor === Object ? children.shift() : {};
  // JupyterLab takes arrow keys for itself unless the very element in focus says no.
  if (/^(input|select|button)$/.test(tag)) el.setAttribute("data-lm-suppress-shortcuts", "true");
  for (const [k, v] of Object.entries(props)) {
    if (k.startsWith("on")) el.addEventListener(k.slice(2), v);
    else if (k in el && k !== "role") el[k] = v;
    else el.setAttribute(k, v);
  }
  el.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  for (const c of classes) el.classList.add(c ? `grae-${c}` : "grae");
  return el;
}
const SVG = "http://www.w3.org/2000/svg";
export function attributes(el, props) {
  for (const k in props) el.setAttribute(k, props[k]);
  return el;
}
export function svg(tag, props, ...children) {
  const el = attributes(document.createElementNS(SVG, tag), props);
  el.append(...children);
  return el;
}
// What a screen reader says of an element.
export const describe = (el, text) => attributes(el, { "aria-label": text });
export const range = (n, f = (i) => i) => Array.from({ length: n }, (_, i) => f(i));

// Three significant digits with a true minus sign; large and small numbers stay readable.
export function fmt(v, digits = 3) {
  if (!Number.isFinite(v)) return "–";
  const a = Math.abs(v);
  let s;
  if (a === 0) s = "0";
  else if (a >= 1e5 || a < 1e-3) {
    const [m, e] = v.toExponential(digits - 2).split("e");
    const power = [...String(+e)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[+c])).join("");
    s = `${m}·10${power}`;
  } else s = v.toFixed(Math.max(0, digits - 1 - Math.floor(Math.log10(a))));
  return s.replace("-", "−");
}
const sub = (i) => [...String(i)].map((c) => "₀₁₂₃₄₅₆₇₈₉"[+c]).join("");
export const zName = (i) => `z${sub(i + 1)}`;

let serial = 0;

// A labelled range input. `values` (an array) makes it step through a grid instead of min … max.
export function slider({ label, name, min = 0, max, step, values, format = fmt, unit = "", on }) {
  const id = `grae-${++serial}`;
  const shown = h("span.value");
  const input = h("input", {
    type: "range", id, min: values ? 0 : min, max: values ? values.length - 1 : max,
    step: values ? 1 : step, "data-name": name || label,
  });
  const of = () => (values ? values[+input.value] : +input.value);
  const show = () => {
    const text = format(of()) + unit;
    shown.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  input.addEventListener("input", () => {
    show();
    on(of());
  });
  const el = h("div.slider", h("label", { htmlFor: id }, label), shown, input);
  el.input = input;
  el.set = (v) => {
    let at = v;
    if (values) {
      at = 0;
      values.forEach((w, i) => {
        if (Math.abs(w - v) < Math.abs(values[at] - v)) at = i;
      });
    }
    if (+input.value !== at) input.value = at;
    show();
  };
  el.grid = (grid) => {
    values = grid;
    input.min = 0;
    input.max = grid.length - 1;
    input.step = 1;
    input.disabled = grid.length < 2;
  };
  return el;
}

// Ten values a decade, round ones, from `from` to `to`.
export const logGrid = (from, to) => {
  const grid = [];
  for (let e = Math.floor(Math.log10(from)); e <= Math.log10(to); e++) {
    for (const m of [1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8]) {
      const v = +`${m}e${e}`;
      if (v >= from && v <= to) grid.push(v);
    }
  }
  return grid;
};

export function select({ label, name, options, on }) {
  const input = h("select", { "data-name": name || label, onchange: () => on(input.value) });
  const el = h("label.select", h("span", label), input);
  el.set = (v) => {
    input.value = String(v);
  };
  el.options = (pairs) => {
    const before = input.value;
    input.replaceChildren(...pairs.map(([v, text]) => h("option", { value: v }, text)));
    if (pairs.some(([v]) => String(v) === before)) input.value = before;
  };
  el.options(options);
  el.input = input;
  return el;
}

// Radio buttons that look like one switch.
export function choice({ label, options, on }) {
  const group = `grae-${++serial}`;
  const inputs = options.map(([value]) =>
    h("input", { type: "radio", name: group, value, onchange: () => on(value) }),
  );
  const el = h("fieldset.choice", h("legend", label),
    h("div", options.map(([, text], i) => h("label", inputs[i], h("span", text)))),
  );
  el.set = (v) => inputs.forEach((input) => (input.checked = input.value === String(v)));
  return el;
}

export const button = (text, on, props = {}) =>
  h("button.button", { type: "button", onclick: on, ...props }, text);

export const panel = (title, note, ...children) =>
  h("div.panel", h("div.head", title, note && h("small", note)), ...children);

export const picture = (label) => h("canvas.image", { role: "img", "aria-label": label });

const tick = (v) => String(+v.toPrecision(3)).replace("-", "−");
// A scale: to and from the numbers that a plot is linear in, ticks in [lo, hi], their text.
const linear = {
  to: (v) => v,
  from: (v) => v,
  text: tick,
  ticks(lo, hi, count) {
    const raw = (hi - lo) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const out = [];
    for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + 1e-9 * step; i++) out.push(i * step);
    return out;
  },
};
export const logarithmic = {
  to: (v) => Math.log10(Math.max(v, 1e-300)),
  from: (v) => 10 ** v,
  text: (v) => (v >= 1e-3 && v <= 1e3 ? tick(v) : fmt(v).replace(/^1(\.0+)?·/, "")),
  ticks(lo, hi) {
    const all = [];
    const every = Math.ceil((Math.log10(hi) - Math.log10(lo)) / 6);
    for (let e = Math.ceil(Math.log10(lo) - 1e-9); 10 ** e <= hi * 1.001; e += every) all.push(10 ** e);
    return all;
  },
};

// An SVG with axes. frame() sets the range, line(), area(), dot() and the like update named marks.
export class Plot {
  constructor({ width = 340, height = 230, x, y, label, scaleX = linear, scaleY = linear, equal, pad }) {
    Object.assign(this, { width, height, scaleX, scaleY, equal });
    const [top, right, bottom, left] = pad || [10, 12, 36, 46];
    this.box = { left, top, right: width - right, bottom: height - bottom };
    this.axes = svg("g", { class: "grae-axes" });
    const id = `grae-clip-${++serial}`;
    this.marks = svg("g", { "clip-path": `url(#${id})` });
    const b = this.box;
    const clip = svg("clipPath", { id }, svg("rect", {
      x: b.left, y: b.top, width: b.right - b.left, height: b.bottom - b.top,
    }));
    this.el = svg(
      "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: `grae-plot${width > 400 ? " grae-big" : ""}`, "aria-label": label },
      clip, this.axes, this.marks,
      (this.nameX = svg("text", { x: (b.left + b.right) / 2, y: height - 4 }, x)),
      (this.nameY = svg("text", { transform: `translate(11 ${(b.top + b.bottom) / 2}) rotate(-90)` }, y)),
    );
    this.named = {};
  }

  names(x, y) {
    this.nameX.textContent = x;
    this.nameY.textContent = y;
  }

  frame(x0, x1, y0, y1) {
    const b = this.box;
    if (this.equal) {
      // One unit is equally long on both axes.
      const [w, h] = [b.right - b.left, b.bottom - b.top];
      const half = Math.max((x1 - x0) / w, (y1 - y0) / h) / 2;
      const [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2];
      [x0, x1, y0, y1] = [x - half * w, x + half * w, y - half * h, y + half * h];
    }
    const { scaleX: X, scaleY: Y } = this;
    const sx = (b.right - b.left) / (X.to(x1) - X.to(x0));
    const sy = (b.bottom - b.top) / (Y.to(y1) - Y.to(y0));
    this.x = (v) => b.left + sx * (X.to(v) - X.to(x0));
    this.y = (v) => b.bottom - sy * (Y.to(v) - Y.to(y0));
    this.fromX = (px) => X.from(X.to(x0) + (px - b.left) / sx);
    this.fromY = (py) => Y.from(Y.to(y0) + (b.bottom - py) / sy);
    const key = [x0, x1, y0, y1].map((v) => v.toPrecision(6)).join();
    if (key === this.key) return;
    this.key = key;
    const parts = [];
    for (const v of X.ticks(x0, x1, (b.right - b.left) / (this.equal ? 48 : 70))) {
      const p = this.x(v);
      parts.push(svg("line", { x1: p, x2: p, y1: b.top, y2: b.bottom }));
      parts.push(svg("text", { x: p, y: b.bottom + 15 }, X.text(v)));
    }
    for (const v of Y.ticks(y0, y1, (b.bottom - b.top) / 40)) {
      const p = this.y(v);
      parts.push(svg("line", { x1: b.left, x2: b.right, y1: p, y2: p }));
      parts.push(svg("text", { x: b.left - 5, y: p + 4, class: "grae-end" }, Y.text(v)));
    }
    this.axes.replaceChildren(...parts);
  }

  mark(name, tag, style, props) {
    const el = (this.named[name] ??= this.marks.appendChild(svg(tag, { class: `grae-mark ${style}` })));
    return attributes(el, props);
  }

  line(name, style, points, close = "") {
    const d = points.map(([x, y], i) => `${i ? "L" : "M"}${this.x(x).toFixed(2)} ${this.y(y).toFixed(2)}`);
    this.mark(name, "path", style, { d: d.join("") + close });
  }

  dot(name, style, x, y, r = 5) {
    this.mark(name, "circle", style, { cx: this.x(x), cy: this.y(y), r });
  }

  rule(name, style, x) {
    const p = this.x(x);
    this.mark(name, "line", style, { x1: p, x2: p, y1: this.box.top, y2: this.box.bottom });
  }

  // The one-standard-deviation ellipse of a covariance [a, b, b, c] around (x, y).
  ellipse(name, style, [a, b, , c], x = 0, y = 0) {
    const l11 = Math.sqrt(a);
    const l21 = b / l11;
    const l22 = Math.sqrt(Math.max(c - l21 * l21, 0));
    const points = range(61, (i) => {
      const t = (i / 60) * 2 * Math.PI;
      return [x + l11 * Math.cos(t), y + l21 * Math.cos(t) + l22 * Math.sin(t)];
    });
    this.line(name, style, points, "Z");
  }

  // Calls on(x, y) while a pointer drags over the plot.
  drag(on) {
    const move = (event) => {
      const r = this.el.getBoundingClientRect();
      on(
        this.fromX(((event.clientX - r.left) / r.width) * this.width),
        this.fromY(((event.clientY - r.top) / r.height) * this.height),
      );
    };
    this.el.classList.add("grae-drag");
    this.el.addEventListener("pointerdown", (event) => {
      this.el.setPointerCapture(event.pointerId);
      event.preventDefault();
      move(event);
    });
    this.el.addEventListener("pointermove", (event) => {
      if (this.el.hasPointerCapture(event.pointerId)) move(event);
    });
  }
}

export const legend = (...items) =>
  h("div.legend", items.map(([style, text]) => {
    const line = svg("line", { x1: 1, x2: 21, y1: 6, y2: 6, class: `grae-mark ${style}` });
    return h("span", svg("svg", { width: 22, height: 12, "aria-hidden": true }, line), text);
  }));

const DARK = "(prefers-color-scheme: dark)";
function isDark() {
  const root = document.documentElement;
  if (root.dataset.theme) return root.dataset.theme === "dark";
  const jupyter = document.body.dataset.jpThemeLight;
  if (jupyter) return jupyter === "false";
  if (root.hasAttribute("theme")) return root.getAttribute("theme") === "dark"; // Colab
  return matchMedia(DARK).matches;
}

const encode = (v) => (Array.isArray(v) ? v.map((x) => +x.toFixed(3)).join(",") : String(v));
const decode = (text, like) =>
  Array.isArray(like) ? (text ? text.split(",").map(Number) : [])
  : typeof like === "number" ? Number(text) : text;
const valid = (v) => (Array.isArray(v) ? v.every(Number.isFinite) : !Number.isNaN(v));

// State of one widget in the address: #grae:name;key=value;key=value
export function readHash(name, like) {
  const [head, ...parts] = decodeURIComponent(location.hash.slice(1)).split(";");
  if (head !== `grae:${name}`) return null;
  const state = {};
  for (const part of parts) {
    const [k, v = ""] = part.split("=");
    if (!(k in like)) continue;
    const value = decode(v, like[k]);
    if (valid(value)) state[k] = value;
  }
  return state;
}
export const hashOf = (name, state) =>
  `#grae:${name};${Object.entries(state).map(([k, v]) => `${k}=${encode(v)}`).join(";")}`;

function saveBlob(blob, name) {
  const a = h("a", { href: URL.createObjectURL(blob), download: name });
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 1000);
}

// A picture of what is shown: the live element, its canvases as images, inside an SVG.
async function download(root, name) {
  const { width, height } = root.getBoundingClientRect();
  // A copy has the attributes only: put there what the reader chose.
  for (const c of root.querySelectorAll("input,option")) {
    attributes(c, { value: c.value });
    c.toggleAttribute("checked", !!c.checked);
    c.toggleAttribute("selected", !!c.selected);
  }
  const copy = root.cloneNode(true);
  const canvases = root.querySelectorAll("canvas");
  copy.querySelectorAll("canvas").forEach((c, i) => {
    const { className, style } = c;
    c.replaceWith(h("img", { src: canvases[i].toDataURL(), alt: "", className, style: style.cssText }));
  });
  copy.querySelectorAll(".grae-tools").forEach((e) => e.remove());
  const font = getComputedStyle(root).fontFamily;
  const body = h("div", { style: `font-family:${font};font-size:16px` }, h("style", style.css), copy);
  const markup = new XMLSerializer().serializeToString(body);
  const text =
    `<svg xmlns="${SVG}" width="${width}" height="${height}">` +
    `<foreignObject width="100%" height="100%">${markup}</foreignObject></svg>`;
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  try {
    await image.decode();
    const canvas = h("canvas", { width: 2 * width, height: 2 * height });
    const context = canvas.getContext("2d");
    context.scale(2, 2);
    context.drawImage(image, 0, 0);
    const blob = await new Promise((done) => canvas.toBlob(done));
    saveBlob(blob, `${name}.png`);
  } catch {
    // Browsers that do not let such a picture out of a canvas still get it as a vector file.
    saveBlob(new Blob([text], { type: "image/svg+xml" }), `${name}.svg`);
  }
}

// What every widget has: frame, toolbar, state, theme, status line and the error in place.
export class Shell {
  constructor({ model, el, signal }, { title, defaults, draw }) {
    Object.assign(this, { model, el, signal, defaults, draw });
    const home = el.getRootNode();
    const target = home === document || !home.host ? document.head : home;
    const sheet = `grae-${style.kind}`;
    if (!target.querySelector(`style[data-for=${sheet}]`)) target.append(h("style", { "data-for": sheet }, style.css));
    this.name = model.get("name") || model.get("kind");
    this.initial = {};
    for (const k in defaults) this.initial[k] = model.get(k) ?? defaults[k];
    this.linked = model.url ? readHash(this.name, defaults) : null;
    for (const [k, v] of Object.entries({ ...this.initial, ...this.linked })) {
      if (model.get(k) === undefined || this.linked?.[k] !== undefined) model.set(k, v);
    }
    this.status = h("div.status", { role: "status" });
    this.error = h("div.error", { role: "alert", hidden: true });
    this.body = h("div.body");
    const tools = h("div.tools", [
      model.url && button("Copy link", () => this.copyLink()),
      button("Reset", () => this.reset()),
      button("Save picture", () => download(this.root, `grae-${this.name}`)),
    ]);
    this.root = h("div.", { role: "group", "aria-label": title },
      h("div.top", h("div.title", title), tools),
      this.error, this.body, this.status,
    );
    const themed = () => this.themed();
    themed();
    const watch = new MutationObserver(themed);
    watch.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "theme"] });
    watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    const ending = new AbortController();
    const until = { signal: ending.signal };
    matchMedia(DARK).addEventListener("change", themed, until);
    this.changed = () => this.schedule();
    for (const k in defaults) model.on(`change:${k}`, this.changed);
    addEventListener("hashchange", () => {
      const state = model.url && readHash(this.name, defaults);
      if (state) this.set(state, false);
    }, until);
    this.cleanup = () => {
      watch.disconnect();
      ending.abort();
      for (const k in defaults) model.off(`change:${k}`, this.changed);
      cancelAnimationFrame(this.frame);
      this.stopped = true;
    };
    signal?.addEventListener("abort", this.cleanup);
    el.append(this.root);
    // For tests and measurements: the state, and one synchronous update.
    el.grae = { model, update: () => this.drawNow(), shell: this };
  }

  get(key) {
    return this.model.get(key);
  }

  set(values, remember = true) {
    for (const k in values) this.model.set(k, values[k]);
    this.unsaved = true;
    this.schedule();
    if (remember && this.model.url) {
      clearTimeout(this.hashTimer);
      this.hashTimer = setTimeout(() => this.writeHash(), 400);
    }
  }

  state() {
    const s = {};
    for (const k in this.defaults) s[k] = this.get(k);
    return s;
  }

  writeHash() {
    const hash = hashOf(this.name, this.state());
    try {
      history.replaceState(history.state, "", hash);
    } catch {
      return; // some browsers refuse it on file://; the link button still gives the address
    }
  }

  async copyLink() {
    const url = location.href.split("#")[0] + hashOf(this.name, this.state());
    this.link?.remove();
    try {
      await navigator.clipboard.writeText(url);
      this.say("The link to this state is on the clipboard.", true);
    } catch {
      const input = h("input.link", { readOnly: true, value: url, "aria-label": "Link" });
      this.link = input;
      this.status.before(input);
      input.select();
      this.say("Copy the selected link.", true);
    }
  }

  reset() {
    this.onReset?.();
    this.set({ ...this.defaults, ...this.initial });
    this.say("Reset.", true);
  }

  themed() {
    const dark = isDark();
    if (this.dark === dark) return;
    this.dark = dark;
    this.maps = maps(dark);
    this.root.toggleAttribute("data-dark", dark);
    if (this.isReady) this.schedule();
  }

  schedule() {
    if (this.frame || this.stopped) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (this.unsaved) {
        this.unsaved = false;
        this.model.save_changes();
      }
      this.drawNow();
    });
  }

  drawNow() {
    try {
      this.draw();
      if (!this.isReady && this.complete !== false) this.ready();
    } catch (error) {
      this.fail(error.message);
    }
  }

  ready() {
    this.isReady = true;
    this.el.dataset.ready = "true";
    this.el.dataset.readyAt = performance.now().toFixed(1);
    if (this.linked) this.el.scrollIntoView({ block: "nearest" });
  }

  fail(message) {
    this.error.textContent = message;
    this.error.hidden = !message;
    this.body.toggleAttribute("inert", !!message && this.locked !== false);
    if (message) this.el.dataset.error = message;
    else delete this.el.dataset.error;
  }

  // Screen readers hear where a movement ended, not every step of it.
  say(text, now) {
    clearTimeout(this.sayTimer);
    this.sayTimer = setTimeout(() => (this.status.textContent = text), now ? 0 : 700);
  }
}

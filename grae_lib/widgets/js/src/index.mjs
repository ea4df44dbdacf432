// One module for the book, Jupyter and Colab. Contract: render({ model, el, signal }), anywidget's.
import { explorer } from "./explorer.mjs";
import { playground } from "./playground.mjs";
import { rotation } from "./rotation.mjs";
import { loadFile, plainModel } from "./store.mjs";
import css from "./style.css";
import { taylor } from "./taylor.mjs";
import { style } from "./ui.mjs";

style.css = css;

const kinds = { explorer, rotation, taylor, playground };

export function render(context) {
  const kind = context.model.get("kind");
  context.el.classList.add("grae-widget");
  if (!kinds[kind]) {
    context.el.textContent = `There is no widget "${kind}"; there are ${Object.keys(kinds).join(", ")}.`;
    return undefined;
  }
  return kinds[kind](context);
}

// A widget without a kernel: a plain object stands for the model.
export function mount(el, state, options) {
  const model = plainModel(state, options);
  const stop = render({ model, el, signal: options?.signal });
  return { model, stop };
}

// Mounts every <div data-grae="kind"> of a page; its JSON script holds the state to start with.
export function mountAll(base, root = document) {
  const seen = {};
  for (const el of root.querySelectorAll("[data-grae]:not([data-mounted])")) {
    el.dataset.mounted = "true";
    const kind = el.dataset.grae;
    const script = el.querySelector("script[type='application/json']");
    const count = (seen[kind] = (seen[kind] || 0) + 1);
    const fallback = el.querySelector(".grae-static");
    try {
      const state = script ? JSON.parse(script.textContent) : {};
      mount(el, { kind, name: count > 1 ? `${kind}-${count}` : kind, ...state }, { base });
      if (fallback) fallback.style.display = "none";
    } catch (error) {
      // One broken widget must not take the others with it; the picture stays in its place.
      el.dataset.error = error.message;
      el.append(Object.assign(document.createElement("p"), { textContent: error.message }));
    }
  }
}

export { loadFile, plainModel };
export default { render };

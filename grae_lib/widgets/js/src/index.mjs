// What a widget's bundle offers. Contract: render({ model, el, signal }), anywidget's own.
import { plainModel } from "./store.mjs";
import { h, style } from "./ui.mjs";

// kind: the widget's name; make: the function that fills an element; css: its style sheet.
export function makeModule(kind, make, css) {
  style.css = css;
  style.kind = kind;

  function render(context) {
    context.el.classList.add("grae-widget");
    return make(context);
  }

  // A widget without a kernel: a plain object stands for the model.
  function mount(el, state, options) {
    const model = plainModel(state, options);
    return { model, stop: render({ model, el, signal: options?.signal }) };
  }

  // Mounts every <div data-grae="kind"> of a page; its JSON script holds the state to start with.
  function mountAll(base) {
    document.querySelectorAll(`[data-grae=${kind}]:not([data-mounted])`).forEach((el, i) => {
      el.dataset.mounted = "true";
      const fallback = el.querySelector(".grae-static");
      try {
        const state = JSON.parse(el.querySelector("script")?.textContent || "{}");
        mount(el, { kind, name: i ? `${kind}-${i + 1}` : kind, ...state }, { base });
        if (fallback) fallback.style.display = "none";
      } catch (error) {
        // One broken widget must not take the others with it; the picture stays in its place.
        el.dataset.error = error.message;
        el.append(h("p", error.message));
      }
    });
  }
  return { render, mount, mountAll };
}

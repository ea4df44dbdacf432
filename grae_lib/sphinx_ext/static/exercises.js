// Exercises that check themselves. Each <section class="grae-check"> holds its data as JSON; choices
// need no script at all. Nothing is stored and nothing is sent.
(function () {
  "use strict";

  // "0,75", "−.3", "3/4" and "2e-3" are numbers too; anything else is NaN.
  function number(text) {
    const plain = text.trim().replace(/[−–]/g, "-").replace(",", ".");
    const parts = plain.split("/");
    if (parts.length > 2 || parts.some((part) => !/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(part.trim())))
      return NaN;
    return parts.length === 2 ? Number(parts[0]) / Number(parts[1]) : Number(parts[0]);
  }
  const show = (value) => String(+value.toPrecision(4)).replace("-", "−");

  function verdict(data, given) {
    if (!Number.isFinite(given)) return ["", "Write a number, such as 0.75, 3/4 or 2e-3."];
    if (Math.abs(given - data.answer) <= data.tolerance) return ["right", `Right. ${data.right}`];
    const known = data.mistakes.find(([value]) => Math.abs(given - value) <= data.tolerance);
    if (known) return ["wrong", `Not so. ${known[1]}`];
    if (data.answer !== 0 && Math.abs(given + data.answer) <= data.tolerance)
      return ["wrong", "Not so: the size is right, the sign is not."];
    return ["wrong", `Not so: too ${given > data.answer ? "large" : "small"}.`];
  }

  function say(element, [kind, text]) {
    element.textContent = text;
    element.className = `grae-check-says${kind ? ` grae-check-${kind}` : ""}`;
  }

  function numeric(section, data) {
    const form = section.querySelector("form");
    const status = section.querySelector(".grae-check-says");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      say(status, verdict(data, number(form.querySelector("input").value)));
    });
  }

  // The widget stays veiled until there is a prediction; then its own number is the judge.
  function predict(section, data) {
    const form = section.querySelector("form");
    const status = section.querySelector(".grae-check-says");
    const veil = section.querySelector(".grae-check-veil");
    const answer = section.querySelector("details");
    const goal = Object.entries(data.target).map(([key, value]) => `${key} = ${value}`).join(", ");
    let given = NaN;
    veil.inert = true;
    veil.classList.add("grae-check-closed");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      given = number(form.querySelector("input").value);
      if (!Number.isFinite(given)) return say(status, verdict(data, given));
      veil.inert = false;
      veil.classList.remove("grae-check-closed");
      say(status, ["", `You predict ${show(given)} ${data.unit}. Now move the figure to ${goal}.`]);
      judge();
    });
    function judge() {
      const figure = veil.querySelector("[data-grae]");
      if (!Number.isFinite(given) || !figure || !figure.grae) return;
      const { model, shell } = figure.grae;
      const there = Object.entries(data.target).every(([key, value]) =>
        typeof value === "number" ? Math.abs(model.get(key) - value) < 1e-9 : model.get(key) === value,
      );
      const found = shell.numbers && shell.numbers[data.reads];
      if (!there || !Number.isFinite(found)) return;
      const near = Math.abs(given - found) <= data.tolerance;
      say(status, [
        near ? "right" : "wrong",
        `At ${goal} the figure shows ${show(found)} ${data.unit}; you predicted ${show(given)}` +
          (near ? `. ${data.right}` : `, which is too ${given > found ? "large" : "small"}. ${data.right}`),
      ]);
      answer.open = true;
    }
    // The figure draws in the next frame after a change; look one frame later.
    const later = () => requestAnimationFrame(() => requestAnimationFrame(judge));
    for (const name of ["input", "change", "pointerup", "keyup", "click"]) veil.addEventListener(name, later);
  }

  function start() {
    for (const section of document.querySelectorAll("section.grae-check")) {
      const data = JSON.parse(section.querySelector("script[type='application/json']").textContent);
      if (data.kind === "numeric") numeric(section, data);
      if (data.kind === "predict") predict(section, data);
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();

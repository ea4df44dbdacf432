// Rotation: turning the latent space changes nothing in the model p(x), yet a mean-field posterior
// pays for it. Four latents with orthogonal columns of J; two of them are turned into each other.
import * as E from "./engine.mjs";
import { choice, fmt, h, legend, logGrid, panel, Plot, range, Shell, slider, zName } from "./ui.mjs";

const D = 4;
const OTHERS = [1.2, 0.8];
const planes = { inside: [0, 1], across: [1, 2] };
const defaults = { theta: 30, norm1: 2, norm2: 0.5, sigma: 0.05, beta: 1, plane: "inside" };

// G of the turned decoder z ↦ W R(θ) z in units of the noise variance, so that P = I + G/β.
export function rotatedMetric({ norm1, norm2, sigma, plane }, degrees) {
  const [i, j] = planes[plane];
  const norms = [...OTHERS, ...OTHERS];
  norms[i] = norm1;
  norms[j] = norm2;
  const squares = norms.map((v) => (v / sigma) ** 2);
  const c = Math.cos((degrees * Math.PI) / 180);
  const s = Math.sin((degrees * Math.PI) / 180);
  const G = new Float64Array(D * D);
  for (let k = 0; k < D; k++) G[k * D + k] = squares[k];
  const [a, b] = [squares[i], squares[j]];
  G[i * D + i] = c * c * a + s * s * b;
  G[j * D + j] = s * s * a + c * c * b;
  G[i * D + j] = G[j * D + i] = c * s * (b - a);
  return G;
}

// (β/2)·log[1 + (A − B)² sin²2θ / (4(1 + A)(1 + B))], A and B the two squared norms over βσ².
export function closedGap({ norm1, norm2, sigma, beta }, degrees) {
  const [A, B] = [norm1, norm2].map((v) => v ** 2 / (beta * sigma ** 2));
  const s = Math.sin((degrees * Math.PI) / 90);
  return (beta / 2) * Math.log1p(((A - B) * s) ** 2 / (4 * (1 + A) * (1 + B)));
}

// What each family pays above the full one, in nats.
export function gaps(state, degrees) {
  const G = rotatedMetric(state, degrees);
  const [full, block, field] = [D, 2, 1].map((size) => (state.beta / 2) * E.logDet(G, D, state.beta, size));
  return { full, block: block - full, field: field - full };
}

export function rotation(context) {
  const shell = new Shell(context, { title: "Rotation: the same model, turned latents", defaults, draw });
  const on = (k) => (v) => shell.set({ [k]: v });
  const fields = {
    theta: slider({ label: "Rotation θ", name: "theta", min: 0, max: 90, step: 1, format: (v) => `${v}°`, on: on("theta") }),
    norm1: slider({ label: "First norm ‖J‖", name: "norm1", min: 0.1, max: 3, step: 0.1, on: on("norm1") }),
    norm2: slider({ label: "Second norm", name: "norm2", min: 0.1, max: 3, step: 0.1, on: on("norm2") }),
    sigma: slider({ label: "Noise σ of p(x|z)", name: "sigma", values: logGrid(0.01, 1), on: on("sigma") }),
    beta: slider({ label: "β", name: "beta", values: logGrid(0.1, 10), on: on("beta") }),
    plane: choice({
      label: "Turn", options: [["inside", "z₁ into z₂"], ["across", "z₂ into z₃"]], on: on("plane"),
    }),
  };
  const curve = new Plot({
    width: 460, height: 290,
    x: "rotation θ (degrees)", y: "−ELBO above full (nats)", label: "Cost of each family against θ",
  });
  curve.drag((x) => shell.set({ theta: Math.round(Math.max(0, Math.min(90, x))) }));
  const ellipse = new Plot({ width: 250, height: 236, x: "", y: "", equal: true, pad: [8, 8, 38, 48], label: "Posteriors" });
  const table = h("tbody");
  shell.body.append(
    h("div.wide.controls", Object.values(fields)),
    h("div.panel.grow",
      h("div.head", "Cost of the family along θ", h("small", "drag to turn; rings: the closed form")),
      curve.el,
      legend(["orange", "mean-field"], ["purple dash", "blocks {z₁,z₂}, {z₃,z₄}"], ["blue", "full"], ["point hollow", "closed form"])),
    panel("Posterior, one standard deviation", null, ellipse.el,
      legend(["blue", "true (full)"], ["orange", "mean-field"], ["purple dash", "block"])),
    h("table.table.wide",
      h("thead", h("tr", ["at this θ", "−ELBO term (nats)", "above full (nats)"].map((t) => h("th", { scope: "col" }, t)))),
      table),
  );

  function draw() {
    const s = shell.state();
    for (const k in fields) fields[k].set(s[k]);
    const angles = range(91);
    const all = angles.map((a) => gaps(s, a));
    const top = Math.max(...all.map((g) => g.field), 0.02) * 1.15;
    curve.frame(0, 90, -0.06 * top, top);
    curve.line("field", "orange", angles.map((a) => [a, all[a].field]));
    curve.line("block", "purple dash", angles.map((a) => [a, all[a].block]));
    curve.line("full", "blue", [[0, 0], [90, 0]]);
    for (let a = 0; a <= 90; a += 15) curve.dot(`c${a}`, "hollow orange", a, closedGap(s, a), 3.5);
    curve.rule("now", "soft dots", s.theta);
    const now = gaps(s, s.theta);
    curve.dot("dot", "point", s.theta, now.field, 6);

    const [i, j] = planes[s.plane];
    const G = rotatedMetric(s, s.theta);
    const part = (size) => {
      const { covariance: S } = E.geometry(G, D, s.beta, size === 1 ? "diagonal" : "block", size);
      return [S[i * D + i], S[i * D + j], S[i * D + j], S[j * D + j]];
    };
    const [full, block, field] = [part(D), part(2), part(1)];
    const reach = 1.3 * Math.sqrt(Math.max(full[0], full[3]));
    ellipse.names(zName(i), zName(j));
    ellipse.frame(-reach, reach, -reach, reach);
    ellipse.ellipse("full", "blue", full);
    ellipse.ellipse("field", "orange", field);
    ellipse.ellipse("block", "purple dash", block);
    table.replaceChildren(...[["full", 0], ["blocks of two", now.block], ["mean-field", now.field]].map(([name, gap]) =>
      h("tr", h("th", { scope: "row" }, name), h("td", fmt(now.full + gap, 5)),
        h("td", { "data-gap": gap }, fmt(Math.abs(gap) < 1e-12 ? 0 : gap, 4))),
    ));
    shell.numbers = { ...now, closed: closedGap(s, s.theta) };
    shell.say(`θ ${s.theta}°: mean-field pays ${fmt(now.field)} nats, blocks ${fmt(Math.abs(now.block) < 1e-12 ? 0 : now.block)}, full 0.`);
  }
  shell.schedule();
  return shell.cleanup;
}

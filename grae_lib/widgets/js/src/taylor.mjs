// Taylor: E_q of the distortion by quadrature, against its expansions around the mean of q.
import { activation, second } from "./activations.mjs";
import { fmt, h, legend, logarithmic, logGrid, panel, Plot, range, select, Shell, slider } from "./ui.mjs";

// A small one-dimensional network with fixed weights: [input weight, bias, output weight] a unit.
const UNITS = [[2.2, 1.9, 0.9], [-1.6, 0.5, -0.8], [3, -0.6, 1.1], [1.3, -2.1, -1.4], [-2.5, -3.2, 0.7]];
const NAMES = { linear: "linear", tanh: "tanh network", softplus: "softplus network", relu: "ReLU network" };
const defaults = { decoder: "tanh", beta: 0.1, mean: 0.3, residual: 0.5 };
export const BETAS = logGrid(0.001, 3);

export function makeDecoder(name) {
  if (name === "linear") return { g: (z) => 0.9 * z, d1: () => 0.9, d2: () => 0, kinks: [] };
  const act = activation(name);
  const sum = (each) => (z) => UNITS.reduce((t, [w, b, v]) => t + v * each(w * z + b, w), 0);
  return {
    g: sum((a) => act.f(a)),
    d1: sum((a, w) => w * act.d1(a, act.f(a))),
    d2: sum((a, w) => w * w * second[name](a, act.f(a))),
    kinks: name === "relu" ? UNITS.map(([w, b]) => -b / w) : [],
  };
}

// E over N(m, σ²) of f, by Simpson's rule between kinks: smooth pieces, so it is exact to rounding.
export function expectation(f, m, sd, kinks) {
  const [lo, hi] = [m - 9 * sd, m + 9 * sd];
  const cuts = [lo, ...kinks.filter((k) => k > lo && k < hi).sort((a, b) => a - b), hi];
  let total = 0;
  for (let c = 0; c + 1 < cuts.length; c++) {
    const n = 2 * Math.ceil(30 + (100 * (cuts[c + 1] - cuts[c])) / (hi - lo));
    const step = (cuts[c + 1] - cuts[c]) / n;
    for (let i = 0; i <= n; i++) {
      const z = cuts[c] + i * step;
      const u = (z - m) / sd;
      total += ((i === 0 || i === n ? 1 : i % 2 ? 4 : 2) * step / 3) * f(z) * Math.exp(-0.5 * u * u);
    }
  }
  return total / (sd * Math.sqrt(2 * Math.PI));
}

// The expected distortion and its approximations, with q at its optimum 1/(1 + g'²/β).
export function expansion({ g, d1, d2, kinks }, { beta, mean, residual }) {
  const x = g(mean) + residual;
  const metric = d1(mean) ** 2;
  const variance = 1 / (1 + metric / beta);
  const distortion = (z) => 0.5 * (x - g(z)) ** 2;
  const hessian = metric - residual * d2(mean);
  const first = distortion(mean);
  return {
    x, variance, distortion, hessian, metric, first,
    truth: expectation(distortion, mean, Math.sqrt(variance), kinks),
    second: first + 0.5 * hessian * variance,
    newton: first + 0.5 * metric * variance,
  };
}

export function taylor(context) {
  const shell = new Shell(context, { title: "Taylor: how good is the expansion?", defaults, draw });
  const on = (k) => (v) => shell.set({ [k]: v });
  const fields = {
    decoder: select({ label: "Decoder g", name: "decoder", options: Object.entries(NAMES), on: on("decoder") }),
    beta: slider({ label: "β", name: "beta", values: BETAS, on: on("beta") }),
    mean: slider({ label: "Mean of q(z|x)", name: "mean", min: -2.5, max: 2.5, step: 0.05, on: on("mean") }),
    residual: slider({ label: "Residual", name: "residual", min: -2, max: 2, step: 0.05, on: on("residual") }),
  };
  const size = { width: 340, height: 210 };
  const top = new Plot({ ...size, x: "z", y: "g(z)", label: "Decoder" });
  const middle = new Plot({ ...size, x: "z", y: "½(x − g(z))² (nats)", label: "Distortion" });
  const bottom = new Plot({
    width: 560, height: 220, x: "β", y: "error of the expectation", scaleX: logarithmic, scaleY: logarithmic, label: "Errors against β", pad: [10, 12, 36, 52],
  });
  top.drag((z) => shell.set({ mean: Math.max(-2.5, Math.min(2.5, Math.round(20 * z) / 20)) }));
  bottom.drag((b) => fields.beta.set(b) || shell.set({ beta: BETAS[+fields.beta.input.value] }));
  const rows = h("tbody");
  const wide = panel("|approximation − truth| (nats)", "straight lines are powers of β; drag to choose β", bottom.el,
    legend(["soft dots", "first order"], ["blue", "second order"], ["orange dash", "Gauss–Newton"]));
  wide.classList.add("grae-wide");
  const kinkNote = h("small", "vertical dashes: kinks of the ReLU, which a quadratic cannot see");
  shell.body.append(
    h("div.wide.controls", Object.values(fields)),
    panel("Decoder and posterior", "residual: x − g(mean)", top.el, legend(["", "g(z)"], ["soft dash", "x"], ["area", "q(z|x)"]), kinkNote),
    panel("Distortion around the mean", null, middle.el,
      legend(["", "true"], ["soft dots", "first"], ["blue", "second"], ["orange dash", "Gauss–Newton"])),
    h("table.table.wide",
      h("thead", h("tr", ["expected distortion", "nats", "error"].map((t) => h("th", { scope: "col" }, t)))), rows),
    wide,
  );

  function draw() {
    const s = shell.state();
    if (!NAMES[s.decoder]) throw new Error(`There is no decoder "${s.decoder}"; there are ${Object.keys(NAMES).join(", ")}.`);
    for (const k in fields) fields[k].set(s[k]);
    const decoder = makeDecoder(s.decoder);
    const { g, d1 } = decoder;
    const e = expansion(decoder, s);
    const m = s.mean;
    const sd = Math.sqrt(e.variance);
    kinkNote.hidden = !decoder.kinks.length;
    const zs = range(241, (i) => -3 + i / 40);
    const values = zs.map(g);
    const [lo, hi] = [Math.min(...values, e.x), Math.max(...values, e.x)];
    const room = 0.12 * (hi - lo) + 0.1;
    const density = (base, scale) =>
      [[-3, base], ...zs.map((z) => [z, base + scale * Math.exp((-0.5 * (z - m) ** 2) / e.variance)]), [3, base]];
    top.frame(-3, 3, lo - room, hi + room);
    top.line("q", "area", density(lo - room, 0.45 * (hi - lo + 2 * room)), "Z");
    const kinks = (plot) => UNITS.forEach((_, i) => plot.rule(`kink${i}`, "soft thin dash", decoder.kinks[i] ?? -99));
    kinks(top);
    top.line("x", "soft dash", [[-3, e.x], [3, e.x]]);
    top.line("g", "", zs.map((z, i) => [z, values[i]]));
    top.dot("mean", "point", m, g(m), 6);

    const height = Math.max(1.5 * e.truth, e.distortion(m - 2 * sd), e.distortion(m + 2 * sd), 0.1);
    const slope = -s.residual * d1(m);
    const parabola = (curve) => zs.map((z) => [z, e.first + slope * (z - m) + 0.5 * curve * (z - m) ** 2]);
    middle.frame(Math.max(-3, m - 4 * sd), Math.min(3, m + 4 * sd), -0.1 * height, 1.25 * height);
    middle.line("q", "area", density(-0.1 * height, 0.5 * height), "Z");
    kinks(middle);
    middle.line("true", "", zs.map((z) => [z, e.distortion(z)]));
    middle.line("first", "soft dots", parabola(0));
    middle.line("second", "blue", parabola(e.hessian));
    middle.line("newton", "orange dash", parabola(e.metric));
    middle.dot("mean", "point", m, e.first, 5);

    const along = BETAS.map((beta) => expansion(decoder, { ...s, beta }));
    const error = (k) => along.map((a, i) => [BETAS[i], Math.max(Math.abs(a[k] - a.truth), 1e-12)]);
    const most = Math.max(...error("first").map((p) => p[1]), 1e-6);
    bottom.frame(BETAS[0], BETAS[BETAS.length - 1], 1e-10, 10 ** Math.ceil(Math.log10(most) + 0.2));
    for (const [k, style] of [["first", "soft dots"], ["second", "blue"], ["newton", "orange dash"]]) {
      bottom.line(k, style, error(k));
      bottom.dot(`${k}-dot`, `hollow ${style.split(" ")[0]}`, s.beta, Math.max(Math.abs(e[k] - e.truth), 1e-12), 4);
    }
    bottom.rule("now", "soft thin", s.beta);
    rows.replaceChildren(...[
      ["true, by quadrature", "truth"], ["first order", "first"], ["second order", "second"], ["Gauss–Newton", "newton"],
    ].map(([name, k]) =>
      h("tr", h("th", { scope: "row" }, name), h("td", { [`data-${k}`]: e[k] }, fmt(e[k], 5)),
        h("td", k === "truth" ? "" : fmt(e[k] - e.truth)))));
    shell.numbers = e;
    shell.say(`β ${fmt(s.beta)}: expected distortion ${fmt(e.truth, 4)}, second order ${fmt(e.second, 4)}, Gauss–Newton ${fmt(e.newton, 4)} nats.`);
  }
  shell.schedule();
  return shell.cleanup;
}

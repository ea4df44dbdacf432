// Explorer: what a trained decoder does near a point, and what the theory derives from it.
import { largest, paint } from "./colors.mjs";
import * as E from "./engine.mjs";
import { normals } from "./linalg.mjs";
import { loadDecoder, loadManifest } from "./store.mjs";
import {
  attributes, button, choice, describe, fmt, h, legend, logGrid, panel, picture, Plot, range, select,
  Shell, slider, svg, zName,
} from "./ui.mjs";

const METHODS = {
  beta_vae_diagonal: "β-VAE, diagonal Σ",
  beta_vae_full: "β-VAE, full Σ",
  beta_vae_block: "β-VAE, block Σ",
  grae_log_det: "GRAE, log-det",
  grae_columns: "GRAE, columns",
  // The columns' objective, with one column drawn at random in each step of training.
  grae_one_column: "GRAE, columns (one drawn a step)",
  live: "this model",
};
const LIMIT = 3.5;
const fixed = (v) => v.toFixed(2).replace("-", "−");

const defaults = {
  collection: "mnist-objectives", method: "", beta: 0.2, digit: 3, z: [], family: "full", block_size: 2, seed: 0,
  axes: [0, 1],
};

export function explorer(context) {
  const { model } = context;
  let entries = [];
  let decoder = null;
  let shown = null; // id of the decoder on the page
  let wanted = null;
  let priorKey = null;
  const live = () => model.get("live") === true;

  const shell = new Shell(context, {
    title: "Explorer: a decoder near one point", defaults, draw,
  });
  shell.complete = false;
  const get = (k) => shell.get(k);

  // --- elements ---------------------------------------------------------------------------------
  const method = select({
    label: "Decoder trained by", name: "method", options: [],
    on: (v) => shell.set({ method: v, z: [] }),
  });
  const beta = slider({
    label: "β, weight of the KL", name: "beta", values: [1],
    on: (v) => shell.set(live() ? { beta: v } : { beta: v, z: [] }),
  });
  const strip = h("div.strip", { role: "group", "aria-label": "Test image to encode" });
  const original = picture("The encoded test image");
  const decoded = picture("The decoded image");
  const captionX = h("figcaption", "x");
  const padX = select({ label: "across", name: "axis-x", options: [], on: (v) => axis(0, +v) });
  const padY = select({ label: "up", name: "axis-y", options: [], on: (v) => axis(1, +v) });
  const square = { width: 250, height: 236, equal: true };
  const pad = new Plot({
    ...square, x: "", y: "", pad: [8, 8, 24, 30], label: "Pad over two latents",
  });
  const sliders = h("div.sliders");
  const tiles = h("div.tiles");
  const family = choice({
    label: "Family of q(z|x)",
    options: ["full", "block", "diagonal"].map((v) => [v, v]),
    on: (v) => shell.set({ family: v }),
  });
  const block = select({
    label: "Block size", name: "block_size", options: [], on: (v) => shell.set({ block_size: +v }),
  });
  const heat = (name) => {
    const canvas = picture(name);
    const bar = h("canvas", { "aria-hidden": "true" });
    const [lo, hi] = [h("span"), h("span")];
    return { canvas, bar, lo, hi, el: [canvas, h("div.scale", lo, bar, hi)] };
  };
  const metric = heat("Metric G");
  const sigma = heat("Covariance Σ");
  const ellipse = new Plot({
    ...square, x: "steepest direction of G", y: "second steepest", pad: [8, 8, 38, 46], label: "Ellipses of the posterior",
  });
  ellipse.el.style.maxWidth = "340px"; // one of three small pictures, also where it stands alone
  const posterior = picture("Eight samples of the posterior, decoded");
  const prior = picture("Sixteen samples of the prior, decoded");
  const noise = button("New noise", () => shell.set({ seed: get("seed") + 1 }));
  const term = (symbol, name, color) => {
    const value = h("b", "–");
    const mark = svg("line", { x1: 1, x2: 13, y1: 5, y2: 5, class: `grae-mark ${color}`, style: "stroke-width:8" });
    const swatch = color && svg("svg", { width: 14, height: 10, "aria-hidden": true }, mark);
    return { value, el: h("div.term", value, swatch || null, " ", name, h("br"), symbol) };
  };
  const terms = {
    distortion: term("½‖x − g(z)‖²", "distortion", "blue"),
    prior: term("(β/2)‖z‖²", "prior", "orange"),
    regularizer: term("(β/2) log|I + G/β|", "log-det", "green"),
    total: term("sum of the three", "GRAE", ""),
  };
  const parts = ["blue", "orange", "green"].map((c) => h("i", { style: `background:var(--${c})` }));
  const bounds = h("small");

  shell.body.append(
    h("div.wide", h("div.controls", method, beta), strip),
    panel("Image", "white is 1",
      h("div.pair",
        h("figure", captionX, original),
        h("figure", h("figcaption", "g(z), decoded"), decoded)),
      h("figcaption.gap", "eight samples of q(z|x), decoded"), posterior),
    panel("Latent z", "drag, or arrow keys", pad.el, h("div.pair", padX, padY)),
    panel("All latents", null, sliders),
    panel("Columns of the Jacobian J = ∂g/∂z",
      "what a small step in each latent adds (orange) or takes away (blue); bar and number: the norm ‖∂g/∂zᵢ‖",
      tiles),
    h("div.wide.row.low", family, block),
    panel("Metric G = JᵀJ", null, metric.el),
    panel("Covariance Σ", null, sigma.el),
    panel("Standard deviations", null, ellipse.el,
      legend(["blue", "this family"], ["orange dash", "full Σ"], ["soft dots", "prior"])),
    panel("GRAE at this point", "nats, summed over the pixels",
      h("div.terms", Object.values(terms).map((t) => t.el)),
      h("div.stack", { "aria-hidden": "true" }, parts), bounds),
    panel("Samples of the prior", "sixteen, decoded", noise, prior),
  );
  for (const i of [4, 9, 10]) shell.body.children[i].classList.add("grae-wide");
  for (const i of [6, 7]) shell.body.children[i].classList.add("grae-half");

  const gray = (canvas, x, w, k) => paint(canvas, x, w, k, shell.maps.gray, 0, 1);
  const signed = (canvas, x, w, k, most) => paint(canvas, x, w, k, shell.maps.signed, -most, most);

  // --- state ------------------------------------------------------------------------------------
  function axis(which, value) {
    const axes = [...get("axes")];
    axes[which] = value;
    shell.set({ axes });
  }
  function point() {
    const z = get("z");
    if (z?.length === decoder.d) return z;
    return decoder.codes[Math.min(get("digit"), decoder.codes.length - 1)] || Array(decoder.d).fill(0);
  }
  function move(changes) {
    const z = [...point()];
    for (const i in changes) {
      z[i] = Math.round(100 * Math.max(-LIMIT, Math.min(LIMIT, changes[i]))) / 100;
    }
    shell.set({ z });
  }
  pad.drag((x, y) => {
    const [i, j] = get("axes");
    move({ [i]: x, [j]: y });
  });
  attributes(pad.el, { tabindex: 0, role: "slider", "data-lm-suppress-shortcuts": true });
  pad.el.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const i = get("axes")[step[0]];
    move({ [i]: point()[i] + step[1] * (event.shiftKey ? 0.5 : 0.1) });
  });

  // --- loading ----------------------------------------------------------------------------------
  function choose() {
    if (live()) return { id: "live", method: "live", beta: get("beta") };
    const same = entries.filter((e) => e.method === get("method"));
    const from = same.length ? same : entries;
    return from.reduce((a, b) =>
      Math.abs(Math.log(b.beta / get("beta"))) < Math.abs(Math.log(a.beta / get("beta"))) ? b : a,
    );
  }
  async function load(entry) {
    wanted = entry.id;
    shell.body.classList.add("grae-loading");
    shell.say(`Loading ${entry.id} …`, true);
    try {
      const next = await loadDecoder(model, entry.id);
      if (wanted !== entry.id) return;
      adopt(next);
      shown = entry.id;
      shell.locked = true;
      shell.fail("");
    } catch (error) {
      if (wanted !== entry.id) return;
      // The controls stay alive: another method or β may well be there.
      shell.locked = false;
      shell.fail(error.message);
      shell.say("", true);
      shown = entry.id;
      decoder = null;
    }
    shell.body.classList.remove("grae-loading");
    shell.schedule();
  }
  function adopt(next) {
    const { d } = next;
    priorKey = null;
    const fresh = !decoder || decoder.d !== d;
    const sameDigits = decoder?.digits.length === next.digits.length && next !== decoder && !live();
    decoder = next;
    if (fresh) {
      const names = range(d, (i) => [i, zName(i)]);
      padX.options(names);
      padY.options(names);
      sliders.replaceChildren(...names.map(([i, name]) =>
        slider({ label: name, name: `z${i + 1}`, min: -LIMIT, max: LIMIT, step: 0.05, format: fixed, on: (v) => move({ [i]: v }) }),
      ));
      tiles.replaceChildren(...names.map(([, name]) => {
        const canvas = picture(`Jacobian column ${name}`);
        const value = h("span");
        const bar = h("i");
        return Object.assign(
          h("div.tile", canvas, h("div.bar", { "aria-hidden": "true" }, bar), h("b", name, value)),
          { canvas, value, bar },
        );
      }));
      block.options(range(d, (i) => i + 1).filter((b) => d % b === 0).map((b) => [b, b]));
      pad.marks.replaceChildren();
      pad.named = {};
    }
    if (!sameDigits) {
      strip.hidden = !next.digits.length;
      strip.replaceChildren(...next.digits.map((x, i) => {
        const canvas = h("canvas.image", { style: "width:30px" });
        gray(canvas, x, next.width, next.height);
        return h("button.pick", {
          type: "button", "aria-label": `Encode test image ${i + 1}`,
          onclick: () => shell.set({ digit: i, z: [] }),
        }, canvas);
      }));
    }
  }

  // --- drawing ----------------------------------------------------------------------------------
  function controls(entry) {
    if (!live()) {
      const grid = entries.filter((e) => e.method === entry.method).map((e) => e.beta).sort((a, b) => a - b);
      beta.grid(grid);
      method.set(entry.method);
    }
    beta.set(live() ? get("beta") : entry.beta);
    family.set(get("family"));
    block.input.disabled = get("family") !== "block";
  }

  function draw() {
    if (!live() && !entries.length) return;
    const entry = choose();
    controls(entry);
    if (entry.id !== shown) {
      if (entry.id !== wanted) load(entry);
      return;
    }
    if (!decoder) return;
    const { d, n, width, height } = decoder;
    const z = point();
    if (d % get("block_size")) shell.set({ block_size: 1 }, false);
    const size = get("block_size");
    const b = entry.beta;
    const { x: image, J } = decoder.jacobian(z);
    const G = E.pullbackMetric(J, n, d);
    const geo = E.geometry(G, d, b, get("family"), size);
    block.set(size);

    const digit = Math.min(get("digit"), decoder.digits.length - 1);
    const x = decoder.digits[digit];
    if (x) gray(original, x, width, height);
    gray(decoded, image, width, height);
    captionX.textContent = x ? "x, encoded" : "no x";
    strip.childNodes.forEach((el, i) => el.setAttribute("aria-pressed", i === digit));

    drawPad(z);
    sliders.childNodes.forEach((el, i) => el.set(z[i]));
    const norms = range(d, (i) => Math.sqrt(G[i * d + i]));
    const top = largest(norms) || 1;
    const most = largest(J) || 1;
    const column = new Float64Array(n);
    tiles.childNodes.forEach((el, i) => {
      for (let k = 0; k < n; k++) column[k] = J[k * d + i];
      signed(el.canvas, column, width, height, most);
      el.bar.style.transform = `scaleX(${norms[i] / top})`;
      el.value.textContent = fmt(norms[i]);
    });
    drawHeat(metric, G, d);
    drawHeat(sigma, geo.covariance, d);
    drawEllipse(G, geo.covariance, d, b);

    const rng = normals(1000 + get("seed"));
    const samples = decoder.decode(E.posteriorSamples(z, geo.factor, d, rng, 8));
    mosaic(posterior, samples, 4);
    const key = `${shown}|${get("seed")}`;
    if (key !== priorKey) {
      const draws = normals(get("seed"));
      mosaic(prior, decoder.decode(range(16, () => draws.fill(d))), 8);
      priorKey = key;
    }

    const t = E.graeTerms(x, image, z, b, geo.logDet);
    for (const k in terms) {
      terms[k].value.textContent = fmt(t[k], 4);
      terms[k].value.dataset[k] = t[k];
    }
    ["distortion", "prior", "regularizer"].forEach((k, i) => {
      parts[i].style.flexGrow = Number.isFinite(t[k]) ? t[k] : 0;
    });
    const half = (v) => fmt((b / 2) * v, 4);
    bounds.textContent =
      `Bounds of the log-det term: ${half(geo.logDet)} ≤ blocks of ${size}: ` +
      `${half(E.logDet(G, d, b, size))} ≤ columns: ${half(geo.columnBound)} ≤ ` +
      `from ‖J‖ alone: ${half(geo.traceBound)}.`;
    shell.numbers = { z, image, G, geo, terms: t, beta: b, norms };
    shell.complete = true;
    shell.say(
      `${METHODS[entry.method] || entry.method}, β ${fmt(b)}. Distortion ${fmt(t.distortion)}, ` +
        `prior ${fmt(t.prior)}, log-det ${fmt(t.regularizer)} nats.`,
    );
  }

  function drawPad(z) {
    let [i, j] = get("axes");
    i = Math.min(i, decoder.d - 1);
    j = Math.min(j, decoder.d - 1);
    padX.set(i);
    padY.set(j);
    pad.frame(-LIMIT, LIMIT, -LIMIT, LIMIT);
    pad.ellipse("prior", "soft dots thin", [1, 0, 0, 1]);
    decoder.codes.forEach((c, k) => {
      const now = k === get("digit");
      const el = pad.mark(`code${k}`, "circle", `soft${now ? "" : " thin"}`, {
        cx: pad.x(c[i]), cy: pad.y(c[j]), r: now ? 5 : 2.5,
      });
      el.classList.toggle("thin", !now);
    });
    pad.dot("z", "point", z[i], z[j], 8);
    attributes(pad.el, {
      "aria-valuenow": z[i], "aria-valuemin": -LIMIT, "aria-valuemax": LIMIT,
      "aria-valuetext": `${zName(i)} ${fmt(z[i])}, ${zName(j)} ${fmt(z[j])}`,
    });
  }

  function drawHeat(heat, M, d) {
    const m = largest(M) || 1;
    signed(heat.canvas, M, d, d, m);
    signed(heat.bar, range(64, (i) => i / 31.5 - 1), 64, 1, 1);
    heat.lo.textContent = fmt(-m);
    heat.hi.textContent = fmt(m);
    describe(
      heat.canvas,
      `${heat === metric ? "Metric" : "Covariance"}, ${d} by ${d}, largest entry ${fmt(m)}`,
    );
  }

  // Both covariances seen in the plane of the two leading eigenvectors of G.
  function drawEllipse(G, S, d, b) {
    const { values, vectors: V } = E.eigenSymmetric(G, d);
    if (d < 2) {
      ellipse.el.parentNode.hidden = true;
      return;
    }
    const project = (M) => {
      const out = [0, 0, 0, 0];
      for (let p = 0; p < 2; p++)
        for (let q = 0; q < 2; q++)
          for (let i = 0; i < d; i++)
            for (let k = 0; k < d; k++) out[2 * p + q] += V[i * d + p] * M[i * d + k] * V[k * d + q];
      return out;
    };
    const own = project(S);
    const full = [1 / (1 + values[0] / b), 0, 0, 1 / (1 + values[1] / b)];
    const reach = 1.25 * Math.sqrt(Math.max(own[0], own[3], full[0], full[3]));
    ellipse.frame(-reach, reach, -reach, reach);
    ellipse.ellipse("prior", "soft dots thin", [1, 0, 0, 1]);
    ellipse.ellipse("own", "blue", own);
    ellipse.ellipse("full", "orange dash", full);
    describe(
      ellipse.el,
      `Posterior in the plane where the image changes most: standard deviations ` +
        `${fmt(Math.sqrt(full[0]))} and ${fmt(Math.sqrt(full[3]))} for the full family, ` +
        `${fmt(Math.sqrt(own[0]))} and ${fmt(Math.sqrt(own[3]))} for this family.`,
    );
  }

  function mosaic(canvas, images, columns) {
    const { width: w, height: k } = decoder;
    const W = columns * (w + 1) - 1;
    const rows = Math.ceil(images.length / columns);
    const H = rows * (k + 1) - 1;
    const data = new Float64Array(W * H);
    images.forEach((image, at) => {
      const x0 = (at % columns) * (w + 1);
      const y0 = Math.floor(at / columns) * (k + 1);
      for (let y = 0; y < k; y++) data.set(image.subarray(y * w, (y + 1) * w), (y0 + y) * W + x0);
    });
    canvas.style.aspectRatio = `${W}/${H}`;
    gray(canvas, data, W, H);
  }

  // --- start ------------------------------------------------------------------------------------
  if (live()) {
    method.hidden = true;
    beta.grid(logGrid(0.01, 10));
    const reload = () => model.get("weights_file") === "live" && load({ id: "live" });
    model.on("change:weights", reload);
    context.signal?.addEventListener("abort", () => model.off("change:weights", reload));
    shell.schedule();
  } else {
    loadManifest(model).then((all) => {
      const name = get("collection");
      entries = all[name] || [];
      if (!entries.length) {
        throw new Error(`No decoders are stored under "${name}"; there are ${Object.keys(all).join(", ") || "none"}.`);
      }
      const methods = [...new Set(entries.map((e) => e.method))];
      method.options(methods.map((m) => [m, METHODS[m] || m.replace(/_/g, " ")]));
      if (!methods.includes(get("method"))) {
        const first = methods.includes("grae_log_det") ? "grae_log_det" : methods[0];
        model.set("method", first);
        shell.initial.method ||= first;
      }
      shell.schedule();
    }).catch((error) => shell.fail(error.message));
  }
  return shell.cleanup;
}

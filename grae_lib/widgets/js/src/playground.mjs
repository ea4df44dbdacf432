// Playground: an autoencoder with two latents, trained here, under three objectives.
import { paint } from "./colors.mjs";
import { eigenSymmetric, parseSafetensors, pullbackMetric } from "./engine.mjs";
import { loadFile } from "./store.mjs";
import { roll, Trainer } from "./training.mjs";
import { button, choice, describe, fmt, h, legend, logGrid, panel, picture, Plot, select, Shell, slider } from "./ui.mjs";

const defaults = { data: "digits", objective: "grae_log_det", beta: 0.05, lr: 0.005, seed: 0 };
const OBJECTIVES = { ae: "plain autoencoder", beta_vae: "β-VAE, diagonal Σ", grae_log_det: "GRAE, log-det" };
// Ten colours that stay apart for labels 0 … 9: Okabe and Ito's eight, and two of Tol's.
const labelColors = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9",
  "#d55e00", "#999933", "#882255", "#7f7f7f", "#44aa99",
];
const SIDE = 9; // images along one edge of the manifold
const FIELD = 7; // ellipses along one edge of the latent plane

export function playground(context) {
  const { model } = context;
  const shell = new Shell(context, { title: "Playground: train it here", defaults, draw });
  shell.complete = false;
  const on = (k) => (v) => shell.set({ [k]: v });
  const fields = {
    data: choice({ label: "Data", options: [["digits", "8×8 digits"], ["roll", "3-D roll"]], on: on("data") }),
    objective: select({ label: "Objective", name: "objective", options: Object.entries(OBJECTIVES), on: on("objective") }),
    beta: slider({ label: "β", name: "beta", values: logGrid(0.001, 1), on: on("beta") }),
    lr: slider({ label: "Learning rate", name: "lr", values: logGrid(0.0005, 0.02), on: on("lr") }),
    seed: slider({ label: "Seed", name: "seed", min: 0, max: 20, step: 1, format: String, on: on("seed") }),
  };
  const play = button("Play", () => run(!playing));
  play.classList.add("grae-main");
  const count = h("span.value");
  const speed = h("small");
  const latent = picture("Latent space");
  const manifold = picture("Decoded manifold");
  latent.classList.add("grae-flat");
  const chart = new Plot({ width: 560, height: 190, x: "steps", y: "nats", label: "Loss terms", pad: [8, 12, 34, 46] });
  const value = () => h("b", "–");
  const terms = { distortion: value(), prior: value(), regularizer: value(), total: value() };
  const colors = { distortion: "blue", prior: "orange", regularizer: "green", total: "" };
  const range = h("small");
  const lossPanel = panel("Loss terms", "running mean over batches",
    h("div.terms", Object.entries(terms).map(([k, b]) => h("div.term", b, k))),
    chart.el, legend(...Object.entries(colors).map(([k, c]) => [c, k])));
  lossPanel.classList.add("grae-wide");
  const manifoldNote = h("small");
  shell.body.append(
    h("div.wide.controls", Object.values(fields)),
    h("div.wide.row", play,
      button("Step", () => { run(false); advance(1); shell.schedule(); }),
      button("Start again", () => { run(false); key = ""; shell.schedule(); }),
      h("span", "steps: ", count), speed),
    panel("Latent space", "codes by label; an ellipse: steps that change the output equally", latent, range),
    panel("Decoded manifold", null, manifold, manifoldNote),
    lossPanel,
  );

  let trainer = null;
  let key = "";
  let sets = {};
  let labels = null;
  let history = [];
  let playing = false;
  let visible = true;
  let lastDraw = 0;
  let rate = 0;
  let done = [];
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const watch = new IntersectionObserver((entries) => (visible = entries[entries.length - 1].isIntersecting));
  watch.observe(shell.root);

  function run(start) {
    if (start === playing) return;
    playing = start;
    done = [];
    play.textContent = playing ? "Pause" : "Play";
    if (playing) requestAnimationFrame(frame);
    else shell.say(`Paused after ${trainer?.steps || 0} steps.`, true);
  }
  // Training fills about two thirds of each frame, so that the page stays responsive.
  function frame() {
    if (!playing || shell.stopped) return;
    if (visible && trainer) {
      const start = performance.now();
      try {
        do advance(1);
        while (performance.now() - start < 11);
      } catch (error) {
        run(false);
        shell.fail(`Training stopped: ${error.message} Lower the learning rate and start again.`);
        return;
      }
      // Of the clock, drawing and waiting included.
      done.push([start, trainer.steps]);
      if (done.length > 40) done.shift();
      rate = (1000 * (trainer.steps - done[0][1])) / (start - done[0][0] || Infinity);
      if (start - lastDraw > (calm ? 500 : 45)) {
        lastDraw = start;
        shell.drawNow();
      }
    }
    requestAnimationFrame(frame);
  }
  function advance(steps) {
    if (!trainer) return;
    for (let i = 0; i < steps; i++) {
      const { total } = trainer.step();
      if (!Number.isFinite(total)) throw new Error("the loss is no longer finite.");
      if (trainer.steps % Math.max(1, 2 ** Math.floor(Math.log2(trainer.steps / 128 + 1))) === 0) {
        history.push([trainer.steps, { ...trainer.terms }]);
      }
    }
    if (history.length > 600) history = history.filter((_, i) => i % 2 === 0);
  }

  function prepare(s) {
    const wanted = `${s.data}|${s.seed}`;
    if (wanted !== key) {
      const set = sets[s.data];
      if (!set) return false;
      key = wanted;
      shell.fail("");
      trainer = new Trainer(set.data, set.n, { ...s, hidden: [set.hidden], output: set.output });
      labels = set.labels;
      history = [];
    }
    Object.assign(trainer.settings, { objective: s.objective, beta: s.beta, lr: s.lr });
    return true;
  }

  function draw() {
    const s = shell.state();
    if (!OBJECTIVES[s.objective]) throw new Error(`There is no objective "${s.objective}".`);
    for (const k in fields) fields[k].set(s[k]);
    if (!prepare(s)) {
      if (s.data === "digits" && !sets.asked) fetchDigits();
      return;
    }
    const codes = trainer.codes();
    const far = Array.from(codes, Math.abs).sort((a, b) => a - b)[Math.floor(0.97 * codes.length)];
    // Steps of a quarter in the logarithm, so that the frame does not breathe with every step.
    const reach = 1.25 ** Math.ceil(Math.log(Math.max(1.1 * far, 0.05)) / Math.log(1.25));
    drawLatent(codes, reach);
    if (s.data === "digits") drawImages(reach);
    else drawRoll(reach);
    drawLoss();
    count.textContent = trainer.steps;
    speed.textContent = trainer.steps && rate ? `${Math.round(rate)} steps/s` : "";
    range.textContent = `both axes from ${fmt(-reach)} to ${fmt(reach)}`;
    manifoldNote.textContent = s.data === "digits" ? "g(z) over the same square" : "dots: data; net: g(z) over the same square";
    describe(latent, `Codes of ${labels.length} examples in a plane of ±${fmt(reach)} after ${trainer.steps} steps`);
    describe(manifold, `The decoder's output over the plane after ${trainer.steps} steps`);
    shell.numbers = { steps: trainer.steps, terms: trainer.terms, rate, trainer };
    shell.complete = true;
  }

  function surface(canvas) {
    const size = Math.min(640, Math.round((canvas.clientWidth || 300) * (devicePixelRatio || 1)));
    if (canvas.width !== size || canvas.height !== size) canvas.width = canvas.height = size;
    const c = canvas.getContext("2d");
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, size, size);
    return [c, size];
  }
  const gridPoints = (side, reach) =>
    Float64Array.from({ length: 2 * side * side }, (_, q) => {
      const at = q >> 1;
      const t = q % 2 ? (side - 1) / 2 - Math.floor(at / side) : (at % side) - (side - 1) / 2;
      return (2 * reach * t) / side;
    });

  function drawLatent(codes, reach) {
    const [c, size] = surface(latent);
    const style = getComputedStyle(shell.root);
    const unit = size / (2 * reach);
    const px = (v) => size / 2 + unit * v;
    const py = (v) => size / 2 - unit * v;
    c.strokeStyle = style.getPropertyValue("--faint");
    c.lineWidth = size / 320;
    for (const v of [-1, 0, 1].map((t) => size / 2 + (t * size) / 3)) {
      c.strokeRect(v, -9, 0, size + 18);
      c.strokeRect(-9, v, size + 18, 0);
    }
    for (let i = 0; i < labels.length; i++) {
      c.fillStyle = labelColors[labels[i]];
      c.beginPath();
      c.arc(px(codes[2 * i]), py(codes[2 * i + 1]), size / 130, 0, 7);
      c.fill();
    }
    // The ellipse {v : vᵀGv = r²}; r makes the middle one of all fill its cell.
    const points = gridPoints(FIELD, reach);
    const n = trainer.n;
    const { J } = trainer.decode(points, FIELD * FIELD);
    const shapes = [];
    const columns = new Float64Array(2 * n);
    for (let p = 0; p < FIELD * FIELD; p++) {
      for (let o = 0; o < n; o++) {
        columns[2 * o] = J[2 * p * n + o];
        columns[2 * o + 1] = J[(2 * p + 1) * n + o];
      }
      const { values, vectors: V } = eigenSymmetric(pullbackMetric(columns, n, 2), 2);
      shapes.push({ a: values[0] ** -0.5, b: Math.max(values[1], 1e-12) ** -0.5, angle: Math.atan2(V[2], V[0]), p });
    }
    const middle = shapes.map((s) => Math.sqrt(s.a * s.b)).sort((x, y) => x - y)[shapes.length >> 1];
    const cell = size / FIELD;
    const scale = (0.3 * cell) / middle;
    c.strokeStyle = style.getPropertyValue("--ink");
    for (const s of shapes) {
      c.beginPath();
      c.ellipse(
        px(points[2 * s.p]), py(points[2 * s.p + 1]),
        Math.min(scale * s.a, 0.7 * cell), Math.min(scale * s.b, 0.7 * cell), -s.angle, 0, 7,
      );
      c.stroke();
    }
  }

  function drawImages(reach) {
    const { x } = trainer.decode(gridPoints(SIDE, reach), SIDE * SIDE);
    const W = 9 * SIDE - 1;
    const data = new Float64Array(W * W).fill(0.15); // a thin gap between images
    for (let p = 0; p < SIDE * SIDE; p++) {
      for (let o = 0; o < 64; o++) {
        data[(9 * Math.floor(p / SIDE) + (o >> 3)) * W + 9 * (p % SIDE) + (o & 7)] = x[64 * p + o];
      }
    }
    manifold.classList.remove("grae-flat");
    paint(manifold, data, W, W, shell.maps.gray, 0, 1);
  }

  function drawRoll(reach) {
    manifold.classList.add("grae-flat");
    const [c, size] = surface(manifold);
    const place = (row, at) => {
      const [a, b, z] = [row[at], row[at + 1], row[at + 2]];
      // Seen from above at an angle: x to the right, the roll's axis into the page.
      return [size / 2 + (size / 4.6) * (a + 0.35 * b), size / 2 - (size / 4.6) * (z + 0.4 * b)];
    };
    const { data } = trainer;
    for (let i = 0; i < labels.length; i++) {
      c.fillStyle = labelColors[labels[i]];
      const [x, y] = place(data, 3 * i);
      c.fillRect(x - size / 180, y - size / 180, size / 90, size / 90);
    }
    const side = 17;
    const { x: net } = trainer.decode(gridPoints(side, reach), side * side);
    c.strokeStyle = getComputedStyle(shell.root).getPropertyValue("--ink");
    c.lineWidth = size / 420;
    for (let dir = 0; dir < 2; dir++) {
      for (let i = 0; i < side; i++) {
        c.beginPath();
        for (let k = 0; k < side; k++) c.lineTo(...place(net, 3 * (dir ? i * side + k : k * side + i)));
        c.stroke();
      }
    }
  }

  function drawLoss() {
    const t = trainer.terms;
    for (const k in terms) terms[k].textContent = t ? fmt(t[k]) : "–";
    const all = history.length ? history : [[0, { distortion: 0, prior: 0, regularizer: 0, total: 1 }]];
    const last = Math.max(trainer.steps, 50);
    const settled = all.slice(Math.floor(all.length / 8)).map(([, v]) => v.total).sort((a, b) => a - b);
    chart.frame(0, last, 0, 1.25 * Math.max(settled[Math.floor(0.95 * settled.length)], 1e-3));
    for (const k in colors) chart.line(k, colors[k], history.map(([step, v]) => [step, v[k]]));
    describe(chart.el, t ? `Loss terms: distortion ${fmt(t.distortion)}, prior ${fmt(t.prior)}, regularizer ${fmt(t.regularizer)} nats` : "Loss terms: no step yet");
  }

  async function fetchDigits() {
    sets.asked = true;
    try {
      const { tensors, meta } = parseSafetensors(await loadFile(model, "digits8"));
      sets.digits = {
        data: Float64Array.from(tensors.x.data, (v) => v / meta.scale), n: 64, hidden: 32,
        labels: tensors.labels.data, output: "sigmoid",
      };
    } catch (error) {
      shell.locked = false;
      shell.fail(error.message);
      sets.asked = false;
      return;
    }
    shell.schedule();
  }
  const rolled = roll(600);
  sets.roll = { ...rolled, n: 3, hidden: 32, labels: rolled.along.map((u) => Math.min(9, (10 * u) | 0)), output: "identity" };
  shell.onReset = () => {
    run(false);
    key = "";
  };
  shell.schedule();
  return () => {
    run(false);
    watch.disconnect();
    shell.cleanup();
  };
}

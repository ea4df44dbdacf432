// Walk: along a rate–distortion curve, β by β; what is paid, and what becomes of sixteen pictures.
import { loadFile } from "./store.mjs";
import { fmt, h, legend, panel, Plot, select, Shell, slider } from "./ui.mjs";

const defaults = { experiment: "tetrominoes-rd", capacity: "", split: "", beta: 1 };
const SETS = { train: ["blue", "training"], test: ["orange", "held out"] };
const COLUMNS = {
  rate: "rate", distortion: "distortion", mutual_information: "information I(x; z)",
  marginal_kl: "KL(q(z) ‖ p(z))",
};

// The entry of a list that lies nearest in the logarithm.
export const nearest = (points, beta) =>
  points.reduce((a, b) => (Math.abs(Math.log(b.beta / beta)) < Math.abs(Math.log(a.beta / beta)) ? b : a));

export function walk(context) {
  const { model } = context;
  const shell = new Shell(context, { title: "Walk: along a rate–distortion curve", defaults, draw });
  shell.complete = false;
  let data = null;
  let cell = [];
  const on = (k) => (v) => shell.set({ [k]: v });
  const fields = {
    beta: slider({ label: "β, weight of the rate", name: "beta", values: [1], on: on("beta") }),
    capacity: select({ label: "Network", name: "capacity", options: [], on: on("capacity") }),
    split: select({ label: "Split", name: "split", options: [], on: on("split") }),
  };
  const curve = new Plot({
    width: 460, height: 300, x: "rate (nats)", y: "distortion (nats)", label: "Rate–distortion curves",
  });
  curve.drag((x, y) => {
    // In pixels, because the axes have different scales.
    const far = ({ train: t }) => Math.hypot(curve.x(t.rate) - curve.x(x), curve.y(t.distortion) - curve.y(y));
    if (cell.length) shell.set({ beta: cell.reduce((a, b) => (far(b) < far(a) ? b : a)).beta });
  });
  const rows = h("tbody");
  const pictures = {};
  const sheets = Object.entries(SETS).map(([k, [, text]]) => {
    pictures[k] = h("img.sheet", { alt: "" });
    return panel(`Pictures, ${text}`, "above: as they are; below: reconstructed", pictures[k]);
  });
  shell.body.append(
    h("div.wide.controls", Object.values(fields)),
    h("div.panel.grow",
      h("div.head", "Rate and distortion", h("small", "drag to choose β")),
      curve.el,
      legend(["blue", "training"], ["orange", "held out"], ["soft dash", "slope −β"])),
    h("div.panel.grow", sheets),
    h("table.table.wide",
      h("thead", h("tr", ["nats, mean over seeds", ...Object.values(COLUMNS)].map((t) => h("th", { scope: "col" }, t)))),
      rows),
  );

  function draw() {
    if (!data) return;
    const s = shell.state();
    const pick = (k, all) => {
      fields[k].set(all[s[k]] ? s[k] : (s[k] = Object.keys(all)[0]));
    };
    pick("capacity", data.capacities);
    pick("split", data.splits);
    cell = data.cells[`${s.split}/${s.capacity}`] || [];
    if (!cell.length) throw new Error(`Nothing is stored for split ${s.split} and network ${s.capacity}.`);
    shell.fail("");
    const now = nearest(cell, s.beta);
    fields.beta.grid(cell.map((p) => p.beta));
    fields.beta.set(now.beta);

    // One frame for all cells, so that curves can be compared.
    const all = Object.values(data.cells).flat().flatMap((p) => [p.train, p.test]);
    const most = (k) => Math.max(...all.map((v) => v[k]));
    const least = Math.min(...all.map((v) => v.distortion));
    const room = 0.06 * (most("distortion") - least) + 1e-9;
    const right = 1.05 * most("rate") + 1e-9;
    curve.frame(0, right, least - room, most("distortion") + room);
    curve.marks.replaceChildren();
    curve.named = {};
    const { rate, distortion } = now.train;
    const tangent = (x) => [x, distortion + now.beta * (rate - x)];
    curve.line("slope", "soft dash", [tangent(0), tangent(right)]);
    for (const [k, [color]] of Object.entries(SETS)) {
      curve.line(k, color, cell.map((p) => [p[k].rate, p[k].distortion]));
      cell.forEach((p, i) => curve.dot(k + i, `hollow ${color}`, p[k].rate, p[k].distortion, 3));
    }
    for (const k in SETS) curve.dot(`${k}-now`, `point ${SETS[k][0]}`, now[k].rate, now[k].distortion, 6);

    const spoken = Object.keys(SETS).map((k) => {
      pictures[k].src = `data:image/png;base64,${now[k].sheet}`;
      pictures[k].alt = `Eight pictures, ${SETS[k][1]}, and below them their reconstructions at β ${fmt(now.beta)}`;
      return `${SETS[k][1]}: rate ${fmt(now[k].rate)}, distortion ${fmt(now[k].distortion)}`;
    });
    curve.el.setAttribute("aria-label", `Distortion against rate for ${cell.length} values of β; at β ${fmt(now.beta)} ${spoken.join("; ")} nats`);
    rows.replaceChildren(...Object.entries(SETS).map(([k, [, text]]) =>
      h("tr", h("th", { scope: "row" }, text),
        Object.keys(COLUMNS).map((c) => h("td", { [`data-${k}`]: c }, fmt(now[k][c], 4))))));
    shell.numbers = now;
    shell.complete = true;
    shell.say(`β ${fmt(now.beta)}, ${data.splits[s.split]}, ${data.capacities[s.capacity]}. In nats, ${spoken.join("; ")}.`);
  }

  const id = `walk/${model.get("experiment")}`;
  loadFile(model, id).then((buffer) => {
    try {
      data = JSON.parse(new TextDecoder().decode(buffer));
    } catch {
      throw new Error(`The file ${id}.js is damaged or cut off: it is not JSON.`);
    }
    if (!data.cells || !data.splits || !data.capacities) throw new Error(`The file ${id}.js has the wrong shape: it holds no curves.`);
    for (const k of ["capacity", "split"]) fields[k].options(Object.entries(data[k === "split" ? "splits" : "capacities"]));
    shell.locked = false;
    shell.schedule();
  }).catch((error) => shell.fail(error.message));
  return shell.cleanup;
}

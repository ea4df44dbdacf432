// The page's engine against the library: run by tests/test_widgets.py, which makes the fixtures, or
//   python tests/js/make_fixtures.py DIR && GRAE_FIXTURES=DIR node --test tests/js/
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import * as E from "../../grae_lib/widgets/js/src/engine.mjs";
import { normals } from "../../grae_lib/widgets/js/src/linalg.mjs";

const root = process.env.GRAE_FIXTURES;
export const read = (file) => {
  const bytes = readFileSync(join(root, file));
  return E.parseSafetensors(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
};

// Largest difference relative to the largest entry: a fair measure for arrays with zeros in them.
function close(actual, expected, tolerance, what) {
  assert.equal(actual.length, expected.length, what);
  const scale = Math.max(...Array.from(expected, Math.abs), 1e-6);
  let worst = 0;
  for (let i = 0; i < actual.length; i++) worst = Math.max(worst, Math.abs(actual[i] - expected[i]));
  assert.ok(worst <= tolerance * scale, `${what}: off by ${worst / scale}`);
}

function decoderOf({ tensors, meta }, i) {
  const own = {};
  for (const [name, t] of Object.entries(tensors)) {
    const m = name.match(/^(\d+)\/(\d+\.(weight|bias))$/);
    if (m && +m[1] === i) own[m[2]] = t;
  }
  return new E.Decoder({ tensors: own, meta: { ...meta, output: meta.cases[i].output } });
}

// Everything that the page derives from a decoder at a point, beside what the library said.
function derived({ tensors, meta }, decoder, i) {
  const d = meta.latent_dim;
  const c = meta.cases[i];
  const get = (name) => tensors[`${i}/${name}`].data;
  const z = get("z");
  const { x, J } = decoder.jacobian(z);
  const G = E.pullbackMetric(J, decoder.n, d);
  const g = E.geometry(G, d, c.beta, c.family, c.block_size);
  const blocks = E.logDet(G, d, c.beta, 2);
  assert.ok(g.logDet <= blocks + 1e-12 && blocks <= g.columnBound + 1e-12);
  assert.ok(g.columnBound <= g.traceBound + 1e-12);
  close(decoder.decode([z, [0, 0, 0, 0], z])[2], x, 1e-12, "value-only pass");
  return {
    "x̂": [x, get("x_hat")],
    J: [J, get("J")],
    G: [G, get("G")],
    Σ: [g.covariance, get("covariance")],
    "log-det": [[g.logDet], [c.log_det]],
    "column bound": [[g.columnBound], [c.column_bound]],
    "block bound": [[blocks], [c.block_bound]],
    eigenvalues: [E.eigenSymmetric(G, d).values, c.eigenvalues],
    distortion: [[E.graeTerms(get("x"), x, z, c.beta, g.logDet).distortion], [c.distortion]],
  };
}
const off = (a, b) =>
  Math.max(...Array.from(a, (v, k) => Math.abs(v - b[k]))) / Math.max(...Array.from(b, Math.abs), 1e-6);

const files = readdirSync(root).filter((f) => /^engine\d+_/.test(f));
test("there are fixtures of both precisions for every activation", () => {
  for (const bits of [16, 32]) assert.equal(files.filter((f) => f.startsWith(`engine${bits}_`)).length, 9);
});

// The page computes in double precision from the weights that it is given, whatever their type: on
// the same weights it must agree with the library to 1e-6; it does to 1e-10, float16 or not.
for (const file of files) {
  test(`${file}: the library's numbers on the same weights`, () => {
    const fixture = read(file);
    const count = fixture.meta.cases.length;
    assert.equal(count, 50);
    for (let i = 0; i < count; i++) {
      for (const [what, [a, b]] of Object.entries(derived(fixture, decoderOf(fixture, i), i))) {
        close(a, b, 1e-9, `${what}, case ${i}`);
      }
    }
  });
}

// Another question: what it costs that the store keeps float16. A weight loses up to 5e-4 of itself,
// so most numbers stay within 1e-3; G is quadratic in J, and a rare case exceeds that.
for (const file of files.filter((f) => f.startsWith("engine32_"))) {
  test(`${file}: what rounding the weights to float16 changes`, () => {
    const fixture = read(file);
    const rounded = read(file.replace("32", "16"));
    const errors = fixture.meta.cases.flatMap((_, i) =>
      Object.values(derived(fixture, decoderOf(rounded, i), i)).map(([a, b]) => off(a, b)));
    errors.sort((a, b) => a - b);
    const [median, p95, worst] = [0.5, 0.95, 1].map((q) => errors[Math.ceil(q * errors.length) - 1]);
    const text = `median ${median}, 95 % ${p95}, worst ${worst}`;
    assert.ok(median < 3e-4 && p95 < 1e-3 && worst < 2e-3, text);
    assert.ok(worst > 1e-5, `the weights were not rounded: ${text}`);
    if (process.env.GRAE_TELL) console.log(text);
  });
}

test("samples have the covariance they are drawn from, and a seed repeats them", () => {
  const G = Float64Array.from([9, 2, 2, 4]);
  const g = E.geometry(G, 2, 0.5, "full", 1);
  const draw = () => E.posteriorSamples([1, -1], g.factor, 2, normals(7), 20000);
  const s = draw();
  assert.deepEqual(s[3], draw()[3]);
  const C = [0, 0, 0, 0];
  for (const [a, b] of s) {
    C[0] += (a - 1) ** 2 / s.length;
    C[1] += ((a - 1) * (b + 1)) / s.length;
    C[3] += (b + 1) ** 2 / s.length;
  }
  C[2] = C[1];
  close(C, g.covariance, 0.03, "sample covariance");
});

test("damaged weights are refused with a reason", () => {
  const bytes = readFileSync(join(root, "engine32_tanh.safetensors"));
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  assert.throws(() => E.parseSafetensors(buffer.slice(0, 4)), /truncated/);
  assert.throws(() => E.parseSafetensors(buffer.slice(0, 3000)), /truncated/);
  assert.throws(() => E.parseSafetensors(buffer.slice(0, -100)), /truncated/);
  assert.throws(() => E.parseSafetensors(new Uint8Array(64).fill(255).buffer), /damaged/);
  const fixture = E.parseSafetensors(buffer);
  const good = { ...fixture.tensors };
  const as = (tensors, meta = {}) => {
    const own = {};
    for (const k in tensors) if (/^0\/\d/.test(k)) own[k.slice(2)] = tensors[k];
    return () => new E.Decoder({ tensors: own, meta: { ...fixture.meta, output: "sigmoid", ...meta } });
  };
  as(good)();
  const w = good["0/1.weight"];
  assert.throws(as({ ...good, "0/1.weight": { ...w, shape: [...w.shape].reverse() } }), /wrong shape/);
  assert.throws(as({}), /no decoder/);
  assert.throws(as(good, { shape: [1, 28, 28] }), /784/);
  assert.throws(as(good, { activation: "swish" }), /unknown/);
  assert.throws(
    as({ ...good, "0/1.weight": { ...w, data: w.data.map(() => NaN) } }), /NaN/);
});

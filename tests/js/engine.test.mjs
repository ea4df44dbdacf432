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

const toHalf = new Map();
function half(v) {
  // Round to the nearest float16 of normal range.
  if (v === 0) return 0;
  if (!toHalf.has(v)) {
    const e = Math.max(Math.floor(Math.log2(Math.abs(v))), -14);
    const unit = 2 ** (e - 10);
    toHalf.set(v, Math.round(v / unit) * unit);
  }
  return toHalf.get(v);
}

function decoderOf({ tensors, meta }, i, round) {
  const own = {};
  for (const [name, t] of Object.entries(tensors)) {
    const m = name.match(/^(\d+)\/(\d+\.(weight|bias))$/);
    if (m && +m[1] === i) own[m[2]] = round ? { ...t, data: t.data.map(half) } : t;
  }
  return new E.Decoder({ tensors: own, meta: { ...meta, output: meta.cases[i].output } });
}

for (const file of readdirSync(root).filter((f) => f.startsWith("engine_"))) {
  const fixture = read(file);
  const { meta, tensors } = fixture;
  const d = meta.latent_dim;
  for (const round of [false, true]) {
    test(`${file} ${round ? "float16" : "float32"} weights`, () => {
      const errors = [];
      meta.cases.forEach((c, i) => {
        const get = (name) => tensors[`${i}/${name}`].data;
        const decoder = decoderOf(fixture, i, round);
        const z = get("z");
        const { x, J } = decoder.jacobian(z);
        const G = E.pullbackMetric(J, decoder.n, d);
        const g = E.geometry(G, d, c.beta, c.family, c.block_size);
        // float32: every number of every case at 1e-6. float16: the distribution, below.
        const check = (a, b, what) => {
          const scale = Math.max(...Array.from(b, Math.abs), 1e-6);
          if (round) errors.push(Math.max(...Array.from(a, (v, k) => Math.abs(v - b[k]))) / scale);
          else close(a, b, 1e-6, `${what}, case ${i}`);
        };
        check(x, get("x_hat"), "x̂");
        check(J, get("J"), "J");
        check(G, get("G"), "G");
        check(g.covariance, get("covariance"), "Σ");
        check([g.logDet], [c.log_det], "log-det");
        check([g.columnBound], [c.column_bound], "column bound");
        check([E.logDet(G, d, c.beta, 2)], [c.block_bound], "block bound");
        assert.ok(g.logDet <= E.logDet(G, d, c.beta, 2) + 1e-12);
        assert.ok(g.columnBound <= g.traceBound + 1e-12);
        check(E.eigenSymmetric(G, d).values, c.eigenvalues, "eigenvalues");
        check([E.graeTerms(get("x"), x, z, c.beta, g.logDet).distortion], [c.distortion], "D");
        close(decoder.decode([z, [0, 0, 0, 0], z])[2], x, 1e-12, "value-only pass");
      });
      if (round) {
        errors.sort((a, b) => a - b);
        // Rounding a weight costs up to 5e-4; G is quadratic in J, so a rare case exceeds 1e-3.
        const p95 = errors[Math.floor(0.95 * errors.length)];
        const worst = errors[errors.length - 1];
        assert.ok(p95 < 1e-3 && worst < 4e-3, `95 %: ${p95}, worst ${worst}`);
      }
    });
  }
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
  const bytes = readFileSync(join(root, "engine_tanh.safetensors"));
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

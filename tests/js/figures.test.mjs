// Closed forms behind the Rotation and Taylor widgets.
import assert from "node:assert/strict";
import test from "node:test";
import { closedGap, gaps } from "../../grae_lib/widgets/js/src/rotation.mjs";
import { BETAS, expansion, makeDecoder } from "../../grae_lib/widgets/js/src/taylor.mjs";
import { fmt, hashOf, logGrid } from "../../grae_lib/widgets/js/src/ui.mjs";

const toy = { norm1: 2, norm2: 0.5, sigma: 0.05, beta: 1, plane: "inside" };

test("rotation: the toy's values, the closed form, and which family is blind to the turn", () => {
  const expected = [0, 0.313, 0.642, 0.75, 0.642, 0.313, 0];
  expected.forEach((e, i) => {
    for (const plane of ["inside", "across"]) {
      const g = gaps({ ...toy, plane }, 15 * i);
      assert.ok(Math.abs(g.field - e) < 1e-3, `${g.field} at ${15 * i}°`);
      assert.ok(Math.abs(g.field - closedGap(toy, 15 * i)) < 1e-11);
      const block = plane === "inside" ? 0 : g.field;
      assert.ok(Math.abs(g.block - block) < 1e-11);
    }
  });
  assert.ok(Math.abs(gaps({ ...toy, norm2: 2 }, 33).field) < 1e-11);
});

const slope = (name, key, residual) => {
  const decoder = makeDecoder(name);
  const error = (beta) => {
    const e = expansion(decoder, { beta, mean: 0.3, residual });
    return Math.abs(e[key] - e.truth);
  };
  return Math.log(error(0.002) / error(0.001)) / Math.log(2);
};

test("taylor: orders of the error in β", () => {
  const near = (v, e) => assert.ok(Math.abs(v - e) < 0.1, `${v}, expected ${e}`);
  near(slope("tanh", "second", 0.5), 2);
  near(slope("softplus", "second", 0.5), 2);
  near(slope("tanh", "newton", 0.5), 1);
  near(slope("tanh", "newton", 0), 2);
  near(slope("tanh", "first", 0), 1);
  const linear = expansion(makeDecoder("linear"), { beta: 0.5, mean: 1, residual: 0.7 });
  for (const k of ["second", "newton"]) assert.ok(Math.abs(linear[k] - linear.truth) < 1e-12);
});

test("taylor: at a kink of ReLU the error falls more slowly than β²", () => {
  const decoder = makeDecoder("relu");
  const error = (beta) => {
    const e = expansion(decoder, { beta, mean: decoder.kinks[0] + 1e-9, residual: 0 });
    return Math.abs(e.second - e.truth);
  };
  const order = Math.log(error(0.002) / error(0.001)) / Math.log(2);
  assert.ok(order > 0.9 && order < 1.7, `${order}`);
});

test("grids are round and numbers readable", () => {
  assert.ok(BETAS.includes(0.1) && logGrid(0.01, 1).includes(0.05));
  assert.equal(fmt(-0.01234), "−0.0123");
  assert.equal(fmt(123456), "1.2·10⁵");
  assert.equal(fmt(0), "0");
  assert.equal(fmt(NaN), "–");
  assert.equal(hashOf("explorer", { beta: 0.2, z: [0.5, -1] }), "#grae:explorer;beta=0.2;z=0.5,-1");
});

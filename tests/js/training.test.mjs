// Gradients of the page's trainer against torch's, in double precision.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { parseSafetensors } from "../../grae_lib/widgets/js/src/engine.mjs";
import { objectives, roll, Trainer } from "../../grae_lib/widgets/js/src/training.mjs";

const root = process.env.GRAE_FIXTURES;

for (const file of readdirSync(root).filter((f) => f.startsWith("training_"))) {
  const bytes = readFileSync(join(root, file));
  const { tensors, meta } = parseSafetensors(
    bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
  );
  for (const objective of objectives) {
    test(`${file}: ${objective}`, () => {
      const trainer = new Trainer(tensors.x.data, meta.n, { ...meta, objective });
      trainer.layers.forEach((l, i) => {
        l.W.set(tensors[`W${i}`].data);
        l.b.set(tensors[`b${i}`].data);
      });
      const index = Array.from({ length: trainer.count }, (_, i) => i);
      trainer.codes(); // other work in between must leave no trace in the buffers
      const terms = trainer.gradients(index, tensors.noise.data);
      for (const name of ["distortion", "prior", "regularizer", "total"]) {
        assert.ok(Math.abs(terms[name] - meta.losses[objective][name]) < 1e-12, name);
      }
      trainer.layers.forEach((l, i) => {
        for (const [kind, g] of [["W", l.gW], ["b", l.gb]]) {
          const expected = tensors[`${objective}/g${kind}${i}`].data;
          assert.equal(g.length, expected.length);
          g.forEach((v, k) => {
            assert.ok(Math.abs(v - expected[k]) < 1e-12, `${kind}${i}[${k}]: ${v}, ${expected[k]}`);
          });
        }
      });
    });
  }
}

test("training lowers the loss and a seed repeats the run", () => {
  for (const objective of objectives) {
    const run = () => {
      const t = new Trainer(roll(200).data, 3, { objective, beta: 0.02, seed: 4, lr: 0.01 });
      const first = t.step().total;
      for (let i = 0; i < 300; i++) t.step();
      return [first, t.terms.total];
    };
    const [first, last] = run();
    assert.ok(last < 0.6 * first, `${objective}: ${first} to ${last}`);
    assert.equal(run()[1], last);
  }
});

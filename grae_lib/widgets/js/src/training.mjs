// Training in the page: MLP autoencoders with hand-written gradients, in double precision.
//
// Rows of a layer are the B points followed by B·d tangents (d = 0 in the encoder), so a layer is
// one matrix product. Reverse mode through y = f(a), t' = f'(a)·t gives
//   ∂t = f'(a)·∂t',   ∂a = f'(a)·∂y + f''(a)·Σ t·∂t',
// which is all that the gradient of a function of the Jacobian needs.
import { activation, second } from "./activations.mjs";
import { cholesky, inverseFromFactor, logDetFromFactor, normals } from "./linalg.mjs";

export const objectives = ["ae", "beta_vae", "grae_log_det"];

// Y (r×m) = X (r×k) · Wᵀ, W (m×k).
function forward(X, W, r, k, m, Y) {
  for (let i = 0; i < r; i++) {
    const x = i * k;
    let o = 0;
    for (; o + 3 < m; o += 4) {
      const w0 = o * k, w1 = w0 + k, w2 = w1 + k, w3 = w2 + k;
      let a = 0, b = 0, c = 0, e = 0;
      for (let p = 0; p < k; p++) {
        const v = X[x + p];
        a += v * W[w0 + p]; b += v * W[w1 + p]; c += v * W[w2 + p]; e += v * W[w3 + p];
      }
      const y = i * m + o;
      Y[y] = a; Y[y + 1] = b; Y[y + 2] = c; Y[y + 3] = e;
    }
    for (; o < m; o++) {
      let a = 0;
      for (let p = 0; p < k; p++) a += X[x + p] * W[o * k + p];
      Y[i * m + o] = a;
    }
  }
}

// gX (r×k) = gY (r×m) · W, and gW (m×k) += gYᵀ · X.
function backward(X, W, gY, r, k, m, gX, gW) {
  if (gX) {
    gX.fill(0, 0, r * k);
    for (let i = 0; i < r; i++) {
      const x = i * k;
      let o = 0;
      for (; o + 3 < m; o += 4) {
        const q = i * m + o;
        const a = gY[q], b = gY[q + 1], c = gY[q + 2], e = gY[q + 3];
        const w0 = o * k, w1 = w0 + k, w2 = w1 + k, w3 = w2 + k;
        for (let p = 0; p < k; p++) {
          gX[x + p] += a * W[w0 + p] + b * W[w1 + p] + c * W[w2 + p] + e * W[w3 + p];
        }
      }
      for (; o < m; o++) {
        const g = gY[i * m + o];
        for (let p = 0; p < k; p++) gX[x + p] += g * W[o * k + p];
      }
    }
  }
  for (let o = 0; o < m; o++) {
    const w = o * k;
    let i = 0;
    for (; i + 3 < r; i += 4) {
      const a = gY[i * m + o], b = gY[(i + 1) * m + o];
      const c = gY[(i + 2) * m + o], e = gY[(i + 3) * m + o];
      const x0 = i * k, x1 = x0 + k, x2 = x1 + k, x3 = x2 + k;
      for (let p = 0; p < k; p++) {
        gW[w + p] += a * X[x0 + p] + b * X[x1 + p] + c * X[x2 + p] + e * X[x3 + p];
      }
    }
    for (; i < r; i++) {
      const g = gY[i * m + o];
      for (let p = 0; p < k; p++) gW[w + p] += g * X[i * k + p];
    }
  }
}

class Network {
  // sizes: numbers per layer; `last` is the output's activation; tangents: d or 0.
  constructor(sizes, hidden, last, tangents) {
    this.d = tangents;
    this.needsInput = tangents > 0;
    const names = sizes.slice(1).map((_, i) => (i === sizes.length - 2 ? last : hidden));
    this.layers = sizes.slice(1).map((m, i) => ({
      k: sizes[i],
      m,
      W: new Float64Array(m * sizes[i]),
      b: new Float64Array(m),
      gW: new Float64Array(m * sizes[i]),
      gb: new Float64Array(m),
      act: { ...activation(names[i]), d2: second[names[i]] },
    }));
    this.rows = 0;
  }

  reserve(rows) {
    if (rows <= this.rows) return;
    this.rows = rows;
    for (const l of this.layers) {
      l.X = new Float64Array(rows * l.k);
      l.gX = new Float64Array(rows * l.k);
      l.A = new Float64Array(rows * l.m); // before the activation
      l.Y = new Float64Array(rows * l.m);
    }
  }

  // The first layer's X holds B points and, when d > 0, B·d tangents behind them.
  run(B) {
    const { d } = this;
    const r = B * (1 + d);
    this.layers.forEach((l, at) => {
      const { A, Y, m, b, act } = l;
      forward(l.X, l.W, r, l.k, m, A);
      for (let i = 0; i < B; i++) {
        for (let o = 0; o < m; o++) {
          const q = i * m + o;
          A[q] += b[o];
          Y[q] = act.f(A[q]);
          const slope = d ? act.d1(A[q], Y[q]) : 0;
          for (let t = 0; t < d; t++) {
            const p = (B + i * d + t) * m + o;
            Y[p] = slope * A[p];
          }
        }
      }
      const next = this.layers[at + 1];
      if (next) next.X.set(l.Y.subarray(0, r * m));
    });
    return this.layers[this.layers.length - 1].Y;
  }

  // gY: gradient at the output (rows as in Y), overwritten. Returns the gradient at the input.
  reverse(B, gY) {
    const { d } = this;
    const r = B * (1 + d);
    for (let at = this.layers.length - 1; at >= 0; at--) {
      const l = this.layers[at];
      const { A, Y, m, act } = l;
      for (let i = 0; i < B; i++) {
        for (let o = 0; o < m; o++) {
          const q = i * m + o;
          const slope = act.d1(A[q], Y[q]);
          let g = slope * gY[q];
          if (d) {
            let mixed = 0;
            for (let t = 0; t < d; t++) {
              const p = (B + i * d + t) * m + o;
              mixed += A[p] * gY[p];
              gY[p] *= slope;
            }
            g += act.d2(A[q], Y[q]) * mixed;
          }
          gY[q] = g;
          l.gb[o] += g;
        }
      }
      // Nobody asks for the gradient at the data.
      backward(l.X, l.W, gY, r, l.k, m, at || this.needsInput ? l.gX : null, l.gW);
      gY = l.gX;
    }
    return gY;
  }
}

export class Trainer {
  // data: rows of n numbers. settings: objective, beta, lr, seed, batch, d, hidden, output.
  constructor(data, n, settings) {
    const s = { objective: "grae_log_det", beta: 0.05, lr: 0.005, seed: 0, batch: 32, d: 2 };
    this.settings = { ...s, hidden: [32], activation: "tanh", output: "identity", ...settings };
    this.data = data;
    this.n = n;
    this.count = data.length / n;
    const { d, hidden, activation: act, output } = this.settings;
    this.encoder = new Network([n, ...hidden, 2 * d], act, "identity", 0);
    this.decoder = new Network([d, ...[...hidden].reverse(), n], act, output, d);
    this.reset();
  }

  get layers() {
    return [...this.encoder.layers, ...this.decoder.layers];
  }

  reset() {
    this.rng = normals(this.settings.seed + 1);
    for (const l of this.layers) {
      const scale = 1 / Math.sqrt(l.k);
      l.W.forEach((_, i) => (l.W[i] = scale * this.rng.normal()));
      l.b.fill(0);
      l.moments = [l.W, l.b].map((p) => [new Float64Array(p.length), new Float64Array(p.length)]);
    }
    const { d } = this.settings;
    const head = this.encoder.layers[this.encoder.layers.length - 1];
    // The second half of the encoder's output is log σ: start narrow, at σ ≈ .14.
    head.b.fill(-2, d);
    head.W.fill(0, d * head.k);
    this.steps = 0;
    this.terms = null;
  }

  // Loss and gradients (in gW, gb) for the rows `index` and, for the β-VAE, noise (B×d).
  gradients(index, noise) {
    const { objective, beta, d } = this.settings;
    const { n } = this;
    const B = index.length;
    for (const l of this.layers) {
      l.gW.fill(0);
      l.gb.fill(0);
    }
    const { encoder, decoder } = this;
    encoder.reserve(B);
    decoder.reserve(B * (1 + d));
    const x = encoder.layers[0].X;
    index.forEach((row, i) => x.set(this.data.subarray(row * n, row * n + n), i * n));
    const code = encoder.run(B);

    const vae = objective === "beta_vae";
    const jacobian = objective === "grae_log_det";
    decoder.d = jacobian ? d : 0;
    const z = decoder.layers[0].X;
    z.fill(0, 0, B * (1 + d) * d);
    for (let i = 0; i < B; i++) {
      for (let j = 0; j < d; j++) {
        const sd = vae ? Math.exp(code[i * 2 * d + d + j]) * noise[i * d + j] : 0;
        z[i * d + j] = code[i * 2 * d + j] + sd;
        if (jacobian) z[(B + i * d + j) * d + j] = 1;
      }
    }
    const out = decoder.run(B);
    const g = (this.gOut ??= {})[out.length] ??= new Float64Array(out.length);
    const terms = { distortion: 0, prior: 0, regularizer: 0 };
    for (let q = 0; q < B * n; q++) {
      const e = out[q] - x[q];
      terms.distortion += (0.5 * e * e) / B;
      g[q] = e / B;
    }
    if (jacobian) {
      const P = new Float64Array(d * d);
      for (let i = 0; i < B; i++) {
        const row = (t) => (B + i * d + t) * n;
        for (let s = 0; s < d; s++) {
          for (let t = 0; t <= s; t++) {
            let v = 0;
            for (let o = 0; o < n; o++) v += out[row(s) + o] * out[row(t) + o];
            P[s * d + t] = P[t * d + s] = v / beta + (s === t);
          }
        }
        const L = cholesky(P, d);
        const inverse = inverseFromFactor(L, d);
        terms.regularizer += (0.5 * beta * logDetFromFactor(L, d)) / B;
        for (let t = 0; t < d; t++) {
          for (let o = 0; o < n; o++) {
            let v = 0;
            for (let s = 0; s < d; s++) v += inverse[s * d + t] * out[row(s) + o];
            g[row(t) + o] = v / B;
          }
        }
      }
    }
    const gz = decoder.reverse(B, g);
    const gCode = (this.gCode ??= {})[code.length] ??= new Float64Array(code.length);
    gCode.fill(0);
    for (let i = 0; i < B; i++) {
      for (let j = 0; j < d; j++) {
        const q = i * 2 * d + j;
        const m = code[q];
        gCode[q] = gz[i * d + j];
        if (objective === "ae") continue;
        terms.prior += (0.5 * beta * m * m) / B;
        gCode[q] += (beta * m) / B;
        if (vae) {
          const log = code[q + d];
          const variance = Math.exp(2 * log);
          terms.regularizer += (0.5 * beta * (variance - 1 - 2 * log)) / B;
          gCode[q + d] =
            gz[i * d + j] * noise[i * d + j] * Math.exp(log) + (beta * (variance - 1)) / B;
        }
      }
    }
    encoder.reverse(B, gCode);
    terms.total = terms.distortion + terms.prior + terms.regularizer;
    return terms;
  }

  // One step of Adam on a random batch.
  step() {
    const { batch, d, lr } = this.settings;
    const index = Array.from({ length: batch }, () => (this.rng.uniform() * this.count) | 0);
    const terms = this.gradients(index, this.rng.fill(batch * d));
    this.steps++;
    const rate = (lr * Math.sqrt(1 - 0.999 ** this.steps)) / (1 - 0.9 ** this.steps);
    for (const l of this.layers) {
      [l.W, l.b].forEach((p, which) => {
        const g = which ? l.gb : l.gW;
        const [m, v] = l.moments[which];
        for (let i = 0; i < p.length; i++) {
          m[i] += 0.1 * (g[i] - m[i]);
          v[i] += 0.001 * (g[i] * g[i] - v[i]);
          p[i] -= (rate * m[i]) / (Math.sqrt(v[i]) + 1e-8);
        }
      });
    }
    // Running means: the terms of one batch jump too much to be read.
    const keep = this.terms ? 0.95 : 0;
    this.terms ??= {};
    for (const k in terms) this.terms[k] = keep * (this.terms[k] || 0) + (1 - keep) * terms[k];
    return terms;
  }

  // Latent means of the rows 0 … count−1, as a flat array (count×d).
  codes(count = this.count) {
    const { d } = this.settings;
    this.encoder.reserve(count);
    this.encoder.layers[0].X.set(this.data.subarray(0, count * this.n));
    const out = this.encoder.run(count);
    return Float64Array.from({ length: count * d }, (_, q) => out[((q / d) | 0) * 2 * d + (q % d)]);
  }

  // Images and Jacobian columns at points z (count×d): rows of n in `x`, count·d rows of n in `J`.
  decode(z, count) {
    const { d } = this.settings;
    const { decoder, n } = this;
    decoder.reserve(count * (1 + d));
    decoder.d = d;
    const X = decoder.layers[0].X;
    X.fill(0, 0, count * (1 + d) * d);
    X.set(z);
    for (let i = 0; i < count; i++) {
      for (let t = 0; t < d; t++) X[(count + i * d + t) * d + t] = 1;
    }
    const Y = decoder.run(count);
    return { x: Y.slice(0, count * n), J: Y.slice(count * n, count * (1 + d) * n) };
  }
}

// Rows of a rolled-up sheet in 3-D, centred and scaled to about unit size, and where each row lies
// along the roll (0 … 1), for colours.
export function roll(count, seed = 0) {
  const rng = normals(seed + 77);
  const data = new Float64Array(count * 3);
  const along = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const u = (along[i] = rng.uniform());
    const t = 1.5 * Math.PI * (1 + 1.3 * u);
    data.set([(t * Math.cos(t)) / 6, 2.4 * (rng.uniform() - 0.5), (t * Math.sin(t)) / 6], 3 * i);
  }
  return { data, along };
}

// The decoder engine: safetensors in; value, Jacobian, metric, optimal covariances and samples out.
// Conventions are the library's: z has d entries, x̂ has n, J is n×d, G = JᵀJ, P = I + G/β.
import { activation } from "./activations.mjs";
import {
  cholesky,
  eigenSymmetric,
  inverseFromFactor,
  logDetFromFactor,
  solveTransposed,
} from "./linalg.mjs";

function fromHalf(bits) {
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const h = bits[i];
    const e = (h >> 10) & 31;
    const m = h & 1023;
    const v = e === 0 ? m * 2 ** -24 : e === 31 ? (m ? NaN : Infinity) : (1 + m / 1024) * 2 ** (e - 15);
    out[i] = h >> 15 ? -v : v;
  }
  return out;
}
const TYPES = { F16: Uint16Array, F32: Float32Array, F64: Float64Array, U8: Uint8Array, I64: BigInt64Array };

const plain = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return text; // a bare word such as tanh is its own value
  }
};

// Reads a safetensors file (8 bytes of header length, JSON header, raw little-endian data).
export function parseSafetensors(buffer) {
  const total = buffer.byteLength;
  const truncated = (need) =>
    new Error(`The weights are truncated: ${total} bytes are here, ${need} are needed.`);
  if (total < 8) throw truncated("at least 8");
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  if (!(length < 1e7)) throw new Error("The weights are damaged: this is no safetensors file.");
  if (8 + length > total) throw truncated(8 + length);
  let header;
  try {
    header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  } catch {
    throw new Error("The weights are damaged: their header is not JSON.");
  }
  const tensors = {};
  const meta = {};
  for (const [k, v] of Object.entries(header.__metadata__ || {})) meta[k] = plain(v);
  for (const [name, t] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const Type = TYPES[t.dtype];
    if (!Type) throw new Error(`Tensor ${name} has type ${t.dtype}; F16, F32, F64, U8 and I64 are read.`);
    const [start, end] = t.data_offsets;
    if (8 + length + end > total) throw truncated(8 + length + end);
    const count = t.shape.reduce((a, b) => a * b, 1);
    if (count * Type.BYTES_PER_ELEMENT !== end - start) {
      throw new Error(`Tensor ${name} has shape ${t.shape} but ${end - start} bytes.`);
    }
    // slice() copies, so the data are aligned whatever their offset in the file.
    const raw = new Type(buffer.slice(8 + length + start, 8 + length + end));
    tensors[name] = { shape: t.shape, data: t.dtype === "F16" ? fromHalf(raw) : raw };
  }
  return { tensors, meta };
}

// out (m×c) = W (m×k) · H (k×c). Two rows and four columns at a time stay in registers.
export function multiply(W, H, m, k, c, out) {
  for (let i = 0; i < m; i += 2) {
    const two = i + 1 < m;
    const r0 = i * k;
    const r1 = two ? r0 + k : r0;
    let j = 0;
    for (; j + 3 < c; j += 4) {
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
      for (let p = 0, h = j; p < k; p++, h += c) {
        const w = W[r0 + p], v = W[r1 + p];
        const h0 = H[h], h1 = H[h + 1], h2 = H[h + 2], h3 = H[h + 3];
        a0 += w * h0; a1 += w * h1; a2 += w * h2; a3 += w * h3;
        b0 += v * h0; b1 += v * h1; b2 += v * h2; b3 += v * h3;
      }
      const o = i * c + j;
      out[o] = a0; out[o + 1] = a1; out[o + 2] = a2; out[o + 3] = a3;
      if (two) { out[o + c] = b0; out[o + c + 1] = b1; out[o + c + 2] = b2; out[o + c + 3] = b3; }
    }
    for (; j < c; j++) {
      let a = 0, b = 0;
      for (let p = 0, h = j; p < k; p++, h += c) { a += W[r0 + p] * H[h]; b += W[r1 + p] * H[h]; }
      out[i * c + j] = a;
      if (two) out[(i + 1) * c + j] = b;
    }
  }
  return out;
}

// ConvTranspose2d with kernel 4, stride 2, padding 1: doubles height and width. Each input pixel
// adds its 4×4 stamp; W is (in, out, 4, 4); H is (in·side·side)×c.
function transposedConvolution(W, H, [inC, outC], [h, w], c, out) {
  out.fill(0);
  for (let i = 0; i < inC; i++)
    for (let y = 0; y < h; y++)
      for (let x = 0; x < w; x++) {
        const from = ((i * h + y) * w + x) * c;
        for (let o = 0; o < outC; o++)
          for (let ky = 0; ky < 4; ky++) {
            const Y = 2 * y - 1 + ky;
            if (Y < 0 || Y >= 2 * h) continue;
            for (let kx = 0; kx < 4; kx++) {
              const X = 2 * x - 1 + kx;
              if (X < 0 || X >= 2 * w) continue;
              const s = W[((i * outC + o) * 4 + ky) * 4 + kx];
              const to = ((o * 2 * h + Y) * 2 * w + X) * c;
              for (let j = 0; j < c; j++) out[to + j] += s * H[from + j];
            }
          }
      }
  return out;
}

// A decoder from the tensors "<i>.weight", "<i>.bias" and the metadata of a safetensors file.
export class Decoder {
  constructor({ tensors, meta }) {
    const index = Object.keys(tensors)
      .map((name) => /^(\d+)\.weight$/.exec(name))
      .filter(Boolean)
      .map((m) => +m[1])
      .sort((a, b) => a - b);
    if (!index.length) throw new Error("The file holds no decoder: no tensor is named 0.weight.");
    this.meta = meta;
    this.d = +meta.latent_dim;
    const shape = meta.shape || [];
    this.n = shape.reduce((a, b) => a * b, 1);
    this.height = shape.length > 1 ? shape[shape.length - 2] : 1;
    this.width = shape[shape.length - 1] || 1;
    const hidden = activation(meta.activation);
    const last = activation(meta.output);
    let side = null;
    let size = this.d;
    this.layers = index.map((key, at) => {
      const { shape: s, data: W } = tensors[`${key}.weight`];
      const b = tensors[`${key}.bias`]?.data;
      const act = at === index.length - 1 ? last : hidden;
      const conv = s.length === 4;
      if (conv && !side) {
        const factor = 2 ** (index.length - at);
        side = [this.height / factor, this.width / factor];
      }
      const inputs = conv ? s[0] * side[0] * side[1] : s[1];
      const channels = conv ? s[1] : s[0];
      if (inputs !== size || b?.length !== channels || (conv && (s[2] !== 4 || s[3] !== 4))) {
        throw new Error(
          `Layer ${key} has the wrong shape: its weights are ${s.join("×")} with ` +
            `${b ? b.length : "no"} biases, and ${size} numbers come in.`,
        );
      }
      const layer = { W, b, act, conv, inputs, s, side, area: 1 };
      if (conv) {
        side = [2 * side[0], 2 * side[1]];
        layer.area = side[0] * side[1];
      }
      size = layer.outputs = channels * layer.area;
      return layer;
    });
    if (size !== this.n) {
      throw new Error(`The decoder returns ${size} numbers; images of shape ${shape} have ${this.n}.`);
    }
    for (const { W } of this.layers) {
      if (!W.every(Number.isFinite)) throw new Error("The weights hold NaN or infinite numbers.");
    }
    this.buffers = {};
  }

  // One pass. Column 0 … values−1 of H are points, the others tangents at the one point.
  pass(H, c, values) {
    const pool = (this.buffers[c] ??= this.layers.map((l) => new Float64Array(l.outputs * c)));
    this.layers.forEach((l, at) => {
      const out = pool[at];
      if (l.conv) transposedConvolution(l.W, H, l.s, l.side, c, out);
      else multiply(l.W, H, l.outputs, l.inputs, c, out);
      const { f, d1 } = l.act;
      for (let i = 0; i < l.outputs; i++) {
        const b = l.b[l.area === 1 ? i : (i / l.area) | 0];
        const o = i * c;
        let a = 0;
        for (let j = 0; j < values; j++) {
          a = out[o + j] + b;
          out[o + j] = f(a);
        }
        if (values < c) {
          const slope = d1(a, out[o]);
          for (let j = values; j < c; j++) out[o + j] *= slope;
        }
      }
      H = out;
    });
    return H;
  }

  // z (d) → x̂ (n) and J (n×d), by carrying the value and d tangents through the layers together.
  jacobian(z) {
    const { d, n } = this;
    const c = d + 1;
    const H = new Float64Array(d * c);
    for (let i = 0; i < d; i++) {
      H[i * c] = z[i];
      H[i * c + i + 1] = 1;
    }
    const Y = this.pass(H, c, 1);
    const x = new Float64Array(n);
    const J = new Float64Array(n * d);
    for (let i = 0; i < n; i++) {
      x[i] = Y[i * c];
      for (let j = 0; j < d; j++) J[i * d + j] = Y[i * c + j + 1];
    }
    return { x, J };
  }

  // Points (an array of z) → an array of images.
  decode(points) {
    const c = points.length;
    const H = new Float64Array(this.d * c);
    points.forEach((z, j) => {
      for (let i = 0; i < this.d; i++) H[i * c + j] = z[i];
    });
    const Y = this.pass(H, c, c);
    return points.map((_, j) => Float64Array.from({ length: this.n }, (_, i) => Y[i * c + j]));
  }
}

// G = JᵀJ, d×d.
export function pullbackMetric(J, n, d) {
  const G = new Float64Array(d * d);
  for (let r = 0; r < n; r++) {
    for (let i = 0; i < d; i++) {
      const a = J[r * d + i];
      for (let j = 0; j <= i; j++) G[i * d + j] += a * J[r * d + j];
    }
  }
  for (let i = 0; i < d; i++) for (let j = 0; j < i; j++) G[j * d + i] = G[i * d + j];
  return G;
}

export const blockOf = (family, blockSize, d) =>
  family === "full" ? d : family === "block" ? blockSize : 1;

// P = I + G/β with the entries outside the family's blocks set to zero. Its inverse is the optimal
// covariance of the family; the blocks of the full inverse would be another, worse matrix.
export function posteriorPrecision(G, d, beta, size) {
  const P = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      if (((i / size) | 0) === ((j / size) | 0)) P[i * d + j] = G[i * d + j] / beta;
    }
    P[i * d + i] += 1;
  }
  return P;
}

// log|P| with blocks of `size`: d gives the log-det itself, 1 its column (Hadamard) bound.
export const logDet = (G, d, beta, size) =>
  logDetFromFactor(cholesky(posteriorPrecision(G, d, beta, size), d), d);

// Everything that the metric says about one point at one β.
export function geometry(G, d, beta, family, blockSize) {
  const factor = cholesky(posteriorPrecision(G, d, beta, blockOf(family, blockSize, d)), d);
  let trace = 0;
  for (let i = 0; i < d; i++) trace += G[i * d + i];
  return {
    factor,
    covariance: inverseFromFactor(factor, d),
    logDet: logDet(G, d, beta, d),
    columnBound: logDet(G, d, beta, 1),
    traceBound: d * Math.log1p(trace / (d * beta)),
  };
}

// The three terms of GRAE at one x, in nats; without x there is no distortion.
export function graeTerms(x, image, z, beta, logDetValue) {
  let distortion = NaN;
  if (x) {
    distortion = 0;
    for (let i = 0; i < x.length; i++) distortion += 0.5 * (x[i] - image[i]) ** 2;
  }
  let prior = 0;
  for (const v of z) prior += 0.5 * beta * v * v;
  const regularizer = 0.5 * beta * logDetValue;
  return { distortion, prior, regularizer, total: distortion + prior + regularizer };
}

// `count` draws z + L⁻ᵀε from N(z, (L Lᵀ)⁻¹).
export const posteriorSamples = (z, factor, d, rng, count) =>
  Array.from({ length: count }, () =>
    solveTransposed(factor, d, rng.fill(d)).map((v, i) => v + z[i]),
  );

export { eigenSymmetric };

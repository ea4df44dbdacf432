// Elementwise functions of the library's decoders: value, first and second derivative, from the
// input a and the value y. Formulas in y where they are cheaper.

function erf(x) {
  const t = Math.abs(x);
  let r;
  if (t < 3) {
    // Maclaurin series of erf(t)·√π/2·exp(t²), all terms positive: no cancellation.
    let term = t;
    let sum = t;
    for (let n = 1; term > 1e-17 * sum; n++) {
      term *= (2 * t * t) / (2 * n + 1);
      sum += term;
    }
    r = (2 / Math.sqrt(Math.PI)) * Math.exp(-t * t) * sum;
  } else {
    // Continued fraction of erfc, evaluated from its tail.
    let f = t;
    for (let n = 60; n > 0; n--) f = t + n / 2 / f;
    r = 1 - Math.exp(-t * t) / (Math.sqrt(Math.PI) * f);
  }
  return x < 0 ? -r : r;
}
const sigma = (a) => (a >= 0 ? 1 / (1 + Math.exp(-a)) : Math.exp(a) / (1 + Math.exp(a)));
const cdf = (a) => 0.5 * (1 + erf(a / Math.SQRT2));
const pdf = (a) => Math.exp(-0.5 * a * a) / Math.sqrt(2 * Math.PI);

export const activations = {
  identity: { f: (a) => a, d1: () => 1, d2: () => 0 },
  tanh: { f: Math.tanh, d1: (a, y) => 1 - y * y, d2: (a, y) => -2 * y * (1 - y * y) },
  sigmoid: { f: sigma, d1: (a, y) => y * (1 - y), d2: (a, y) => y * (1 - y) * (1 - 2 * y) },
  softplus: {
    f: (a) => (a > 20 ? a : Math.log1p(Math.exp(a))),
    d1: (a) => (a > 20 ? 1 : sigma(a)),
    d2: (a) => (a > 20 ? 0 : sigma(a) * sigma(-a)),
  },
  relu: { f: (a) => (a > 0 ? a : 0), d1: (a) => (a > 0 ? 1 : 0), d2: () => 0 },
  // The slope of the library (data.LEAKY_RELU_SLOPE), not PyTorch's default.
  leaky_relu: { f: (a) => (a > 0 ? a : 0.2 * a), d1: (a) => (a > 0 ? 1 : 0.2), d2: () => 0 },
  elu: {
    f: (a) => (a > 0 ? a : Math.expm1(a)),
    d1: (a, y) => (a > 0 ? 1 : y + 1),
    d2: (a, y) => (a > 0 ? 0 : y + 1),
  },
  gelu: {
    f: (a) => a * cdf(a),
    d1: (a) => cdf(a) + a * pdf(a),
    d2: (a) => (2 - a * a) * pdf(a),
  },
};

export function activation(name) {
  const found = activations[name];
  if (!found) {
    throw new Error(
      `activation "${name}" is unknown; known are ${Object.keys(activations).join(", ")}.`,
    );
  }
  return found;
}

// Small dense linear algebra in double precision. A matrix is a Float64Array in row-major order;
// symmetric matrices are d×d with d ≤ 100, so plain loops are the right tool.

export function cholesky(A, d) {
  const L = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      let s = A[i * d + j];
      for (let k = 0; k < j; k++) s -= L[i * d + k] * L[j * d + k];
      if (i === j) {
        if (!(s > 0)) throw new Error("The matrix is not positive definite.");
        L[i * d + i] = Math.sqrt(s);
      } else L[i * d + j] = s / L[j * d + j];
    }
  }
  return L;
}

export function logDetFromFactor(L, d) {
  let s = 0;
  for (let i = 0; i < d; i++) s += Math.log(L[i * d + i]);
  return 2 * s;
}

// Solves Lᵀ y = b: with P = L Lᵀ and b standard normal, y has covariance P⁻¹.
export function solveTransposed(L, d, b) {
  const y = Float64Array.from(b);
  for (let i = d - 1; i >= 0; i--) {
    for (let k = i + 1; k < d; k++) y[i] -= L[k * d + i] * y[k];
    y[i] /= L[i * d + i];
  }
  return y;
}

// (L Lᵀ)⁻¹ from the columns of L⁻¹.
export function inverseFromFactor(L, d) {
  const inv = new Float64Array(d * d);
  for (let j = 0; j < d; j++) {
    for (let i = j; i < d; i++) {
      let s = i === j ? 1 : 0;
      for (let k = j; k < i; k++) s -= L[i * d + k] * inv[k * d + j];
      inv[i * d + j] = s / L[i * d + i];
    }
  }
  const S = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      let s = 0;
      for (let k = i; k < d; k++) s += inv[k * d + i] * inv[k * d + j];
      S[i * d + j] = S[j * d + i] = s;
    }
  }
  return S;
}

// Eigenvalues (descending) and eigenvectors (columns of `vectors`) of a symmetric matrix by cyclic
// Jacobi rotations: slow for large d, exact and short for ours.
export function eigenSymmetric(A, d) {
  const M = Float64Array.from(A);
  const V = new Float64Array(d * d);
  for (let i = 0; i < d; i++) V[i * d + i] = 1;
  for (let sweep = 0; sweep < 50; sweep++) {
    let off = 0;
    let all = 0;
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        all += M[i * d + j] ** 2;
        if (i !== j) off += M[i * d + j] ** 2;
      }
    }
    if (off <= 1e-28 * all) break;
    for (let p = 0; p < d; p++) {
      for (let q = p + 1; q < d; q++) {
        const apq = M[p * d + q];
        if (apq === 0) continue;
        const theta = (M[q * d + q] - M[p * d + p]) / (2 * apq);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1);
        const s = t * c;
        const turn = (A, i, j) => {
          const a = A[i];
          const b = A[j];
          A[i] = c * a - s * b;
          A[j] = s * a + c * b;
        };
        for (let k = 0; k < d; k++) turn(M, k * d + p, k * d + q);
        for (let k = 0; k < d; k++) {
          turn(M, p * d + k, q * d + k);
          turn(V, k * d + p, k * d + q);
        }
      }
    }
  }
  const order = [...Array(d).keys()].sort((i, j) => M[j * d + j] - M[i * d + i]);
  const vectors = new Float64Array(d * d);
  order.forEach((from, to) => {
    for (let k = 0; k < d; k++) vectors[k * d + to] = V[k * d + from];
  });
  return { values: order.map((i) => M[i * d + i]), vectors };
}

// Standard normal numbers from a seed (mulberry32 and Box–Muller): the same link, the same samples.
export function normals(seed) {
  let a = seed >>> 0;
  const uniform = () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  let spare = null;
  const normal = () => {
    if (spare !== null) {
      const s = spare;
      spare = null;
      return s;
    }
    const r = Math.sqrt(-2 * Math.log(1 - uniform()));
    const phi = 2 * Math.PI * uniform();
    spare = r * Math.sin(phi);
    return r * Math.cos(phi);
  };
  return { uniform, normal, fill: (n) => Float64Array.from({ length: n }, normal) };
}

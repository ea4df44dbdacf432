// Colour maps, built by straight lines in OKLab so that equal steps look equal. The two hues are
// the blue and the orange of Okabe and Ito, which readers with colour-blindness can tell apart.

const toLinear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const fromLinear = (v) => (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);

function lab(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => toLinear(parseInt(hex.slice(i, i + 2), 16) / 255));
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}
function rgb([L, a, b]) {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((v) => Math.round(255 * Math.min(1, Math.max(0, fromLinear(v)))));
}

// A map through the given colours as 256 packed pixels, little-endian RGBA.
function table(...stops) {
  const labs = stops.map(lab);
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const t = (i / 255) * (labs.length - 1);
    const k = Math.min(Math.floor(t), labs.length - 2);
    const [r, g, b] = rgb(labs[k].map((v, j) => v + (t - k) * (labs[k + 1][j] - v)));
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
}

const gray = table("#000000", "#ffffff");
const light = table("#003f6b", "#0072b2", "#f7f7f5", "#d55e00", "#7a2f00");
const dark = table("#9bd7ff", "#2c8fd0", "#1b1e22", "#d9731c", "#ffc46b");
export const maps = (isDark) => ({ gray, signed: isDark ? dark : light });

// Ten colours that stay apart for labels 0 … 9: Okabe and Ito's eight, and two of Tol's.
export const labelColors = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9",
  "#d55e00", "#999933", "#882255", "#7f7f7f", "#44aa99",
];

// Paints numbers in [lo, hi] into a w×h canvas, one pixel each; CSS scales it.
export function paint(canvas, data, w, h, map, lo, hi) {
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  const image = context.createImageData(w, h);
  const pixels = new Uint32Array(image.data.buffer);
  const scale = 255 / (hi - lo || 1);
  for (let i = 0; i < w * h; i++) {
    const v = (data[i] - lo) * scale;
    pixels[i] = map[v > 255 ? 255 : v > 0 ? v | 0 : 0];
  }
  context.putImageData(image, 0, 0);
}

export function largest(data) {
  let m = 0;
  for (let i = 0; i < data.length; i++) m = Math.max(m, Math.abs(data[i]));
  return m;
}

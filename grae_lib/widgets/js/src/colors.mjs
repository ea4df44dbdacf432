// Colour maps. The signed ones pass through points of straight lines in OKLab, so that equal steps
// look equal; their two hues are the blue and the orange of Okabe and Ito, which readers with
// colour-blindness can tell apart.

// A map through the given colours as 256 packed pixels, little-endian RGBA.
function table(text) {
  const stops = text.split(" ").map((hex) => [4, 2, 0].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const t = (i / 255) * (stops.length - 1);
    const k = Math.min(t | 0, stops.length - 2);
    return stops[k].reduce((sum, v, j) => 256 * sum + Math.round(v + (t - k) * (stops[k + 1][j] - v)), 255);
  });
}

const gray = table("000000 ffffff");
const light = table("003f6b 00588e 0072b2 8cb4d5 f7f7f5 ecad8d d55e00 a64600 7a2f00");
const dark = table("9bd7ff 68b3e8 2c8fd0 2a5473 1b1e22 74482c d9731c ed9c47 ffc46b");
export const maps = (isDark) => ({ gray, signed: isDark ? dark : light });

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

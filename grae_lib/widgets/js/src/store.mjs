// Where weights come from: the page's own _static/grae/ in the book, the kernel in a notebook.
import { Decoder, parseSafetensors } from "./engine.mjs";

function toBuffer(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes.buffer;
}

const files = new Map();

// Classic scripts that put base64 on a global object: unlike fetch and import(), they also work
// where a book was unzipped and is read over file://.
function fromScript(base, id) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${base}${id}.js`;
    const failed = () =>
      reject(new Error(`The file ${id}.js is missing beside this page, so there is nothing to show.`));
    script.onload = () => {
      const text = globalThis.graeData?.[id];
      script.remove();
      if (text === undefined) return failed();
      delete globalThis.graeData[id];
      try {
        resolve(typeof text === "string" ? toBuffer(text) : text);
      } catch {
        reject(new Error(`The file ${id}.js is damaged: it is not base64.`));
      }
    };
    script.onerror = failed;
    document.head.append(script);
  });
}

// In a kernel: ask for a file through the trait `file`, wait for `weights` and `weights_file`.
function fromKernel(model, id) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`The kernel does not answer, so ${id} cannot be loaded. Run the cell.`)),
      20000,
    );
    const arrived = () => {
      if (model.get("weights_file") !== id) return;
      const view = model.get("weights");
      if (!view?.byteLength) return;
      clearTimeout(timer);
      model.off("change:weights_file", arrived);
      model.off("change:weights", arrived);
      resolve(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    };
    model.on("change:weights_file", arrived);
    model.on("change:weights", arrived);
    model.set("file", id);
    model.save_changes();
    arrived();
  });
}

export function loadFile(model, id) {
  const source = model.base === undefined ? "kernel" : model.base;
  const key = `${source}|${id}`;
  // A live model's weights change under one name: those are never kept.
  if (id === "live") return fromKernel(model, id);
  if (!files.has(key)) {
    const file = model.base === undefined ? fromKernel(model, id) : fromScript(model.base, id);
    file.catch(() => files.delete(key)); // so that a second try is a try
    files.set(key, file);
  }
  return files.get(key);
}

const decoders = new WeakMap();
export async function loadDecoder(model, id) {
  const buffer = await loadFile(model, id);
  if (!decoders.has(buffer)) {
    const file = parseSafetensors(buffer);
    const decoder = new Decoder(file);
    const { codes, codes_images: images } = file.tensors;
    decoder.codes = [];
    decoder.digits = [];
    if (codes) {
      const [count, d] = codes.shape;
      if (d !== decoder.d || (images && images.data.length !== count * decoder.n)) {
        throw new Error(`The codes have the wrong shape: ${codes.shape} for ${decoder.d} latents.`);
      }
      for (let i = 0; i < count; i++) {
        decoder.codes.push(Array.from(codes.data.subarray(i * d, i * d + d)));
        if (!images) continue;
        const row = images.data.subarray(i * decoder.n, (i + 1) * decoder.n);
        decoder.digits.push(images.data instanceof Uint8Array ? Float64Array.from(row, (v) => v / 255) : row);
      }
    }
    decoders.set(buffer, decoder);
  }
  return decoders.get(buffer);
}

// The stored decoders: [{ id, method, beta, … }], from a trait or from manifest.js.
export async function loadManifest(model) {
  if (model.get("manifest")) return model.get("manifest");
  const buffer = await loadFile(model, "manifest");
  return JSON.parse(new TextDecoder().decode(buffer));
}

// A plain object behind anywidget's model interface, for pages without a kernel.
export function plainModel(state, { base = "", url = true } = {}) {
  const values = { ...state };
  const handlers = {};
  return {
    base,
    url,
    get: (k) => values[k],
    set(k, v) {
      if (values[k] === v) return;
      values[k] = v;
      (handlers[`change:${k}`] || []).slice().forEach((f) => f());
    },
    on: (name, f) => (handlers[name] ??= []).push(f),
    off(name, f) {
      handlers[name] = (handlers[name] || []).filter((g) => g !== f);
    },
    save_changes() {},
  };
}

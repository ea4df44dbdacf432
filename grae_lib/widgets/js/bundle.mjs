// Bundles src/ into ../static/grae-widgets.mjs, the one file that book, Jupyter and Colab load.
//
//   npm install --no-save --no-package-lock esbuild@0.28.2     (once, at the root of the repository)
//   node grae_lib/widgets/js/bundle.mjs [--check]
//
// The first line of the bundle holds two SHA-256: of the sources and of the code behind that line.
// A test compares both without esbuild; --check bundles anew and compares every byte.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const VERSION = "0.28.2";
const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "static", "grae-widgets.mjs");
const sha = (...parts) => {
  const hash = createHash("sha256");
  for (const p of parts) hash.update(p);
  return hash.digest("hex");
};

const esbuild = await import("esbuild").catch(() => {
  console.error(`esbuild is missing: npm install --no-save --no-package-lock esbuild@${VERSION}`);
  process.exit(2);
});
if (esbuild.version !== VERSION) {
  console.error(`esbuild ${esbuild.version} is here, ${VERSION} makes the committed bundle.`);
  process.exit(2);
}
const styles = {
  name: "styles",
  setup(build) {
    build.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const options = { loader: "css", minify: true, target: "es2021" };
      const { code } = await esbuild.transform(readFileSync(path, "utf8"), options);
      return { contents: code.trim(), loader: "text" };
    });
  },
};
const result = await esbuild.build({
  entryPoints: [join(here, "src", "index.mjs")],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2021",
  charset: "utf8",
  legalComments: "none",
  plugins: [styles],
  write: false,
});
const code = result.outputFiles[0].text;
const sources = readdirSync(join(here, "src")).sort();
const source = sha(...sources.flatMap((f) => [f, "\n", readFileSync(join(here, "src", f))]));
const text = `/* sources ${source} code ${sha(code)} */\n${code}`;
if (process.argv.includes("--check")) {
  if (readFileSync(target, "utf8") !== text) {
    console.error("grae-widgets.mjs is stale: run node grae_lib/widgets/js/bundle.mjs");
    process.exit(1);
  }
} else writeFileSync(target, text);
console.log(`${Buffer.byteLength(text)} bytes`);

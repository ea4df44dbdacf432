// Bundles src/ into ../static/grae-<kind>.mjs: for each widget one file that stands alone, which book,
// Jupyter and Colab load. A page gets the code of the widgets that it shows and no other.
//
//   npm install --no-save --no-package-lock esbuild@0.28.2     (once, at the root of the repository)
//   node grae_lib/widgets/js/bundle.mjs [--check | --sizes]
//
// The first line of a bundle holds two SHA-256: of the sources and of the code behind that line.
// A test compares both without esbuild; --check bundles anew and compares every byte; --sizes says
// what each source adds.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const VERSION = "0.28.2";
// Each widget and the style sheets that it needs besides the common one.
const KINDS = {
  explorer: ["explorer"],
  rotation: ["table"],
  taylor: ["table"],
  playground: [],
  walk: ["table", "walk"],
};
const here = dirname(fileURLToPath(import.meta.url));
const src = join(here, "src");
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
  console.error(`esbuild ${esbuild.version} is here, ${VERSION} makes the committed bundles.`);
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
const entry = (kind, sheets) => `
  ${["style", ...sheets].map((name, i) => `import css${i} from "./${name}.css";`).join("")}
  import { ${kind} } from "./${kind}.mjs";
  import { makeModule } from "./index.mjs";
  const css = css0${sheets.map((_, i) => ` + css${i + 1}`).join("")};
  export const { render, mount, mountAll } = makeModule("${kind}", ${kind}, css);
  export default { render };`;
const sources = readdirSync(src).sort();
const source = sha(...sources.flatMap((f) => [f, "\n", readFileSync(join(src, f))]));
let stale = 0;
for (const [kind, sheets] of Object.entries(KINDS)) {
  const result = await esbuild.build({
    stdin: { contents: entry(kind, sheets), resolveDir: src, sourcefile: "entry" },
    bundle: true,
    minify: true,
    metafile: true,
    format: "esm",
    target: "es2021",
    charset: "utf8",
    legalComments: "none",
    plugins: [styles],
    write: false,
  });
  const code = result.outputFiles[0].text;
  const text = `/* sources ${source} code ${sha(code)} */\n${code}`;
  const name = `grae-${kind}.mjs`;
  const target = join(here, "..", "static", name);
  console.log(`${name} ${Buffer.byteLength(text)} bytes`);
  if (process.argv.includes("--sizes")) {
    const [{ inputs }] = Object.values(result.metafile.outputs);
    for (const [file, { bytesInOutput }] of Object.entries(inputs)) console.log(`  ${file} ${bytesInOutput}`);
  } else if (!process.argv.includes("--check")) writeFileSync(target, text);
  else if (!existsSync(target) || readFileSync(target, "utf8") !== text) {
    console.error(`${name} is stale: run node grae_lib/widgets/js/bundle.mjs`);
    stale = 1;
  }
}
process.exit(stale);

// The package's entry: picks the build that the engine can run, and loads it.

const builds = {
  plain: () => import('./dist/plain/sslm_web.js'),
  simd: () => import('./dist/simd/sslm_web.js'),
  relaxed: () => import('./dist/relaxed/sslm_web.js'),
};

// The smallest modules with an instruction of each kind: `f32x4.splat`, and `f32x4.relaxed_madd`.
const start = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10];
const module = (...code) => Uint8Array.of(...start, code.length + 4, 1, code.length + 2, 0, ...code, 11);
const zero = [67, 0, 0, 0, 0, 253, 19];
const probes = {
  simd: module(...zero, 26),
  relaxed: module(...zero, ...zero, ...zero, 253, 133, 2, 26),
};

/** Whether this engine can run a build. */
export function isSupported(build) {
  if (!Object.hasOwn(builds, build)) {
    throw new Error(`build: expected plain, simd or relaxed, found ${build}`);
  }
  return typeof WebAssembly === 'object' && (build === 'plain' || WebAssembly.validate(probes[build]));
}

/** Loads a build: the one with vectors where the engine has them, unless another is asked for. */
export async function init(build = isSupported('simd') ? 'simd' : 'plain') {
  if (!isSupported(build)) {
    throw new Error(`build: expected one that this engine supports, found ${build}`);
  }
  const loaded = await builds[build]();
  // In Node.js the glue's own way to its file, `fetch`, does not know files.
  const inNode = typeof process === 'object' && process.versions?.node !== undefined;
  const bytes = inNode ? await readBeside(build) : undefined;
  await loaded.default(bytes && { module_or_path: bytes });
  return { build, load: loaded.load };
}

async function readBeside(build) {
  const fs = await import(/* webpackIgnore: true */ /* @vite-ignore */ 'node:fs/promises');
  return fs.readFile(new URL(`./dist/${build}/sslm_web_bg.wasm`, import.meta.url));
}

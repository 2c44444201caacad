// The package as Node.js meets it, installed from what `npm pack` made: node node.mjs REPOSITORY BUILD ... With BENCH=1, it times
// runs.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { init, isSupported } from 'sslm-web';

const [root, ...builds] = process.argv.slice(2);
const read = (...names) => fs.readFileSync(path.join(root, ...names));

/** The elements of an `.npy` file of `float32`. */
function npy(bytes) {
  const start = 10 + bytes.readUInt16LE(8);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length));
}

const models = Object.fromEntries(
  ['lenet', 'resnet20'].map((name) => [name, read('tools', 'models', name, `${name}.sslm`)]),
);
const [images, logits] = ['images', 'logits'].map((name) => npy(read('tests', 'golden', 'lenet', `${name}.npy`)));
const digests = read('tests', 'golden', 'digests.txt').toString().trim().split('\n').map((line) => {
  const [name, digest] = line.split(' ');
  return [name, BigInt(digest)];
});
const count = logits.length / 10;
const side = 28;

/** What `ImageData` has, which Node.js lacks. */
function imageData(width, height, level) {
  const data = new Uint8ClampedArray(4 * width * height).map((_, i) => (i % 4 === 3 ? 255 : level(i >> 2)));
  return { width, height, data };
}

function throws(action, ...parts) {
  let message;
  assert.throws(action, (error) => ((message = error.message), error instanceof Error));
  for (const part of parts) {
    assert.ok(message.includes(part), `expected '${part}', found '${message}'`);
  }
}

function answers(load) {
  const model = load(models.lenet);
  assert.deepEqual(model.inputShape, [undefined, 1, side, side]);
  const all = model.run(images);
  const worst = all.reduce((most, logit, i) => Math.max(most, Math.abs(logit - logits[i])), 0);
  assert.ok(all.length === logits.length && worst < 1e-4, `logits differ by ${worst}`);
  const one = model.run(images.subarray(0, side * side), [1, 1, side, side]);
  assert.ok(one.every((logit, i) => Math.abs(logit - logits[i]) < 1e-4));

  for (let image = 0; image < count; image++) {
    // Golden images are digits after the model's own rule, which is undone here: the mean and the deviation of MNIST.
    const pixels = images.subarray(image * side * side, (image + 1) * side * side);
    const expected = logits.subarray(image * 10, (image + 1) * 10);
    const found = model.classify(imageData(side, side, (pixel) => Math.round(255 * (pixels[pixel] * 0.3081 + 0.1307))), 3);
    assert.equal(found.length, 3);
    assert.equal(found[0].index, expected.indexOf(Math.max(...expected)));
    assert.ok(Math.abs(found[0].output - Math.max(...expected)) < 1e-3 && found[0].probability > found[1].probability);
  }
  const conv = model.layers().find((layer) => layer.name === '/conv2/Conv');
  assert.deepEqual([conv.filters, conv.columns, conv.op], [{ kept: 15, of: 50 }, { kept: 53, of: 500 }, 'Conv']);
  assert.ok(conv.macs > 0 && conv.kernel.length > 0);
  model.free();
  throws(() => model.run(images));

  const resnet = load(Uint8Array.from(models.resnet20).buffer);
  assert.equal(resnet.labels.length, 10);
  assert.equal(resnet.classify(imageData(90, 61, (pixel) => pixel % 251)).length, 5);
  assert.ok(resnet.layers().filter((layer) => layer.op === 'Conv' && layer.macs === 0).length >= 6);
}

/** Elements between -1 and 1, as `runtime/tests/reproducible.rs` has them. */
function noise(length) {
  let state = 1;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / (1 << 23) - 1;
  });
}

/** FNV-1a of the elements' bits. */
function digest(elements) {
  const bytes = new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength);
  return bytes.reduce((hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n), 0xcbf29ce484222325n);
}

/** The bits that every machine must yield. */
function sameBits(load) {
  for (const [name, expected] of digests) {
    const model = load(read('tools', 'models', name, `${name}.sslm`), { reproducible: true });
    const length = model.inputShape.slice(1).reduce((product, extent) => product * extent);
    const images = noise(6 * length);
    for (const batch of [1, 2, 3, 6]) {
      const outputs = Array.from({ length: 6 / batch }, (_, i) => [
        ...model.run(images.subarray(i * batch * length, (i + 1) * batch * length)),
      ]);
      assert.equal(digest(Float32Array.from(outputs.flat())), expected, `${name}, batch ${batch}`);
    }
    model.free();
  }
}

function refusals(load) {
  throws(() => load(), 'load: expected a Uint8Array');
  throws(() => load('lenet.sslm'), 'load: expected a Uint8Array');
  throws(() => load(Uint8Array.from('GIF89a', (c) => c.charCodeAt(0))), 'SSLM', 'GIF89a');
  for (let length = 0; length < models.lenet.length; length += 9973) {
    throws(() => load(models.lenet.subarray(0, length)));
  }
  const damaged = Uint8Array.from(models.lenet);
  damaged[damaged.length - 99] ^= 1;
  throws(() => load(damaged), 'checksum');
  throws(() => load(models.lenet, { memory: 1000 }), 'bytes');
  throws(() => load(models.lenet, { macs: 1000 }), '1000');
  throws(() => load(models.lenet, { macs: 'few' }), 'options.macs');

  const model = load(models.lenet, { memory: 1 << 24, macs: 1e8 });
  throws(() => model.run(new Float32Array(0)), 'found 0 elements');
  throws(() => model.run(new Float32Array(785)), 'expected whole images', '785');
  throws(() => model.run(new Float32Array(784), [1, 1, 28]), '[1, 1, 28]');
  throws(() => model.run(new Float32Array(783), [1, 1, 28, 28]), '783');
  throws(() => model.run(new Float32Array(784), [0, 1, 28, 28]));
  throws(() => model.run(new Float32Array(784), [2 ** 32 - 1, 1, 28, 28]));
  throws(() => model.run(new Float32Array(784), [784, 1, 1, 1]));
  throws(() => model.classify(undefined), 'image.width');
  throws(() => model.classify({ width: 28, height: 28 }), 'image.data');
  throws(() => model.classify({ ...imageData(28, 28, () => 0), height: 29 }), '28x29');
  throws(() => model.classify({ ...imageData(28, 28, () => 0), width: 0 }), 'image.width');
  throws(() => model.classify({ width: 2 ** 32 - 1, height: 2 ** 32 - 1, data: new Uint8ClampedArray(4) }), 'bytes');
  assert.equal(model.run(images.subarray(0, side * side)).length, 10, 'it runs after errors');
}

/** The median of fifty samples, in microseconds. */
function bench(load, name, shape) {
  const model = load(models[name]);
  const input = new Float32Array(shape.reduce((product, extent) => product * extent));
  const run = (runs) => {
    const start = performance.now();
    for (let i = 0; i < runs; i++) {
      model.run(input);
    }
    return (1000 * (performance.now() - start)) / runs;
  };
  run(2000);
  return Array.from({ length: 50 }, () => run(100)).sort((a, b) => a - b)[25];
}

for (const build of builds) {
  if (!isSupported(build)) {
    console.log(`NOT TESTED by this Node.js: the build ${build}, which it cannot run`);
    continue;
  }
  const { load, build: loaded } = await init(build);
  assert.equal(loaded, build);
  if (process.env.BENCH) {
    const [lenet, resnet20] = [bench(load, 'lenet', [1, 1, 28, 28]), bench(load, 'resnet20', [1, 3, 32, 32])];
    console.log(`${build}: LeNet ${lenet.toFixed(1)} us, ResNet-20 ${resnet20.toFixed(0)} us`);
    continue;
  }
  answers(load);
  sameBits(load);
  refusals(load);
  console.log(`${build}: ok`);
}
assert.throws(() => isSupported('fast'), /expected plain, simd or relaxed/);

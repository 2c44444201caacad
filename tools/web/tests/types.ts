// What TypeScript has to accept, and what it has to refuse: compiled, and not run.

import { init, isSupported, type Class, type Layer, type Model } from 'sslm-web';

export async function likeliest(bytes: ArrayBuffer, image: ImageData): Promise<string | undefined> {
  const { load, build } = await init(isSupported('relaxed') ? 'relaxed' : undefined);
  const model: Model = load(bytes, { memory: 1 << 28, reproducible: true });
  const logits: Float32Array = model.run(new Float32Array(784), [1, 1, 28, 28]);
  const classes: Class[] = model.classify(image, 3);
  const gone: Layer[] = model.layers().filter((layer) => layer.macs === 0 && (layer.filters?.of ?? 0) > 0);
  // @ts-expect-error there is no such build
  await init('fast');
  // @ts-expect-error a path is no model
  load('lenet.sslm');
  return classes[0]?.label ?? `${build} ${logits.length} ${gone.length}`;
}

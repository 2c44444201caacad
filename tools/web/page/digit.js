// A drawing as MNIST has its digits: scaled to fit a box of 20x20 pixels, and put into 28x28 so that its centre of mass is in the
// middle.

const box = 20;
const side = 28;
/** Fainter than this is no ink, of 255. */
const faint = 16;

/** Where the ink of a drawing is; nothing, if there is none. */
function bounds({ data, width, height }) {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (data[4 * (y * width + x)] >= faint) {
        [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
      }
    }
  }
  return right > left ? { left, top, width: right - left, height: bottom - top } : undefined;
}

/** What an interval of old pixels gives to each of `count` new ones: indices and shares of 1. */
function shares(first, extent, count) {
  return Array.from({ length: count }, (_, index) => {
    const [from, to] = [first + (extent * index) / count, first + (extent * (index + 1)) / count];
    const pixels = [];
    for (let pixel = Math.floor(from); pixel < to; pixel++) {
      pixels.push([pixel, (Math.min(to, pixel + 1) - Math.max(from, pixel)) / (to - from)]);
    }
    return pixels;
  });
}

/** Light ink on black as an image of 28x28 pixels; nothing, if there is no ink. */
export function asMnist(drawing) {
  const ink = bounds(drawing);
  if (!ink) {
    return undefined;
  }
  const scale = box / Math.max(ink.width, ink.height);
  const [width, height] = [ink.width, ink.height].map((extent) => Math.max(1, Math.round(extent * scale)));
  const [columns, rows] = [shares(ink.left, ink.width, width), shares(ink.top, ink.height, height)];
  const levels = rows.map((row) =>
    columns.map((column) => {
      let level = 0;
      for (const [y, down] of row) {
        for (const [x, across] of column) {
          level += drawing.data[4 * (y * drawing.width + x)] * down * across;
        }
      }
      return level;
    }),
  );

  let [mass, massX, massY] = [0, 0, 0];
  levels.forEach((row, y) =>
    row.forEach((level, x) => {
      [mass, massX, massY] = [mass + level, massX + level * (x + 0.5), massY + level * (y + 0.5)];
    }),
  );
  const start = (centre, extent) => Math.min(Math.max(Math.round(side / 2 - centre), 0), side - extent);
  const [left, top] = [start(massX / mass, width), start(massY / mass, height)];

  const image = new ImageData(side, side);
  for (let alpha = 3; alpha < image.data.length; alpha += 4) {
    image.data[alpha] = 255;
  }
  levels.forEach((row, y) =>
    row.forEach((level, x) => {
      const pixel = 4 * ((top + y) * side + left + x);
      image.data.fill(Math.round(level), pixel, pixel + 3);
    }),
  );
  return image;
}

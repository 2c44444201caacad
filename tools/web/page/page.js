// The page: an image goes in, and what the compact network answers, how long it takes beside the dense one, and what each layer
// kept come out.

import { init, isSupported } from './index.js';
import { asMnist } from './digit.js';
import { make } from './dom.js';
import { showLayers } from './layers.js';
import { medians } from './timing.js';

const networks = {
  lenet: {
    name: 'LeNet',
    draws: true,
    hint: 'Draw a digit, drop an image of one (light on dark), or take an example.',
    board: 'Draw a digit here with a pen, a finger or the mouse',
  },
  resnet20: {
    name: 'ResNet-20',
    draws: false,
    hint: 'Drop a picture of an airplane, automobile, bird, cat, deer, dog, frog, horse, ship or truck, or choose one.',
    board: 'The picture that was chosen',
  },
};
/** As many pixels as a file may decode to. */
const mostPixels = 1 << 26;

const element = (id) => document.getElementById(id);
const board = element('board');
const pen = board.getContext('2d', { willReadFrequently: true });
const seen = element('seen').getContext('2d');

/** The network that is shown: its two forms, opened by one build. */
let shown;
/** What was last classified, to be classified by another build. */
let lastImage;
/** Whether the board has a drawing, which may go on, or an image that was taken. */
let isDrawing = false;
/** Counts choices, so that what was begun for an earlier one ends. */
let choice = 0;

function complain(error) {
  element('problem').textContent = error.message;
  element('problem').hidden = false;
}

/** Runs what may fail, and says so in the page. */
async function guarded(action) {
  element('problem').hidden = true;
  try {
    await action();
  } catch (error) {
    complain(error);
  }
}

async function open(load, file) {
  const response = await fetch(`models/${file}.sslm`);
  if (!response.ok) {
    throw new Error(`models/${file}.sslm: expected a model, found status ${response.status}`);
  }
  return load(await response.arrayBuffer());
}

/** Shows the network and the build that are chosen. */
async function choose() {
  const own = ++choice;
  const [name, build] = [document.querySelector('[name=model]:checked').value, element('build').value];
  const { load } = await init(build);
  const [compact, dense] = await Promise.all([open(load, name), open(load, `${name}-dense`)]);
  if (own !== choice) {
    return;
  }
  const isSame = shown?.name === name;
  shown?.compact.free();
  shown?.dense.free();
  shown = { name, build, compact, dense };
  showLayers(element('layers'), element('total'), dense.layers(), compact.layers());
  if (isSame && lastImage) {
    classify(lastImage);
  } else {
    prepareBoard();
  }
  await measure();
}

function classify(image) {
  lastImage = image;
  const classes = shown.compact.classify(image);
  element('answer').textContent = classes[0].label ?? `class ${classes[0].index}`;
  const entry = ({ label, index, probability }) => {
    const bar = make('span', { className: 'bar compact' });
    bar.style.width = `${100 * probability}%`;
    const share = make('span', { className: 'share', textContent: `${(100 * probability).toFixed(1)} %` });
    return make('li', {}, make('span', { textContent: label ?? `class ${index}` }), make('span', {}, bar), share);
  };
  element('classes').replaceChildren(...classes.map(entry));
  showSeen(image);
}

/** What is classified, in the size of the network's input. The model cuts and scales it itself; this is for the eye. */
function showSeen(image) {
  const [height, width] = shown.compact.inputShape.slice(-2).map((extent) => extent ?? 224);
  Object.assign(seen.canvas, { width, height });
  const whole = new OffscreenCanvas(image.width, image.height);
  whole.getContext('2d').putImageData(image, 0, 0);
  seen.drawImage(whole, 0, 0, width, height);
}

function prepareBoard() {
  const { draws, hint, board: label } = networks[shown.name];
  pen.fillStyle = 'black';
  pen.fillRect(0, 0, board.width, board.height);
  seen.clearRect(0, 0, seen.canvas.width, seen.canvas.height);
  board.classList.toggle('draws', draws);
  board.setAttribute('aria-label', label);
  element('hint').textContent = hint;
  element('examples').hidden = !draws;
  element('answer').textContent = '';
  element('classes').replaceChildren();
  lastImage = undefined;
  isDrawing = false;
}

/** Classifies an image file: as the model's file says, as `ssl-run` does. */
async function take(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name || 'the file'}: expected an image that this browser knows, found another file`);
  });
  const { width, height } = bitmap;
  if (width * height > mostPixels) {
    throw new Error(`${file.name}: expected at most ${mostPixels} pixels, found ${width}x${height}`);
  }
  const whole = new OffscreenCanvas(width, height).getContext('2d');
  whole.drawImage(bitmap, 0, 0);
  prepareBoard();
  const scale = Math.min(board.width / width, board.height / height);
  const [x, y] = [(board.width - width * scale) / 2, (board.height - height * scale) / 2];
  pen.imageSmoothingEnabled = scale < 1;
  pen.drawImage(bitmap, x, y, width * scale, height * scale);
  classify(whole.getImageData(0, 0, width, height));
}

function draw(event) {
  const bounds = board.getBoundingClientRect();
  const scale = board.width / bounds.width;
  const [x, y] = [(event.clientX - bounds.left) * scale, (event.clientY - bounds.top) * scale];
  pen.lineTo(x, y);
  pen.stroke();
  pen.beginPath();
  pen.moveTo(x, y);
}

function classifyDrawing() {
  const digit = asMnist(pen.getImageData(0, 0, board.width, board.height));
  if (digit) {
    classify(digit);
  }
}

function beginStroke(event) {
  if (!shown || !networks[shown.name].draws || event.button !== 0) {
    return;
  }
  if (!isDrawing) {
    prepareBoard();
    isDrawing = true;
  }
  board.setPointerCapture(event.pointerId);
  Object.assign(pen, { lineWidth: 22, lineCap: 'round', lineJoin: 'round', strokeStyle: 'white' });
  pen.beginPath();
  draw(event);
}

function duration(milliseconds) {
  const [value, unit] = milliseconds < 1 ? [1000 * milliseconds, 'µs'] : [milliseconds, 'ms'];
  return `${value.toPrecision(3)} ${unit}`;
}

/** Times both forms of the network that is shown. What an image holds makes no difference, so there need be none. */
async function measure() {
  const own = choice;
  const { compact, dense, build, name } = shown;
  const outputs = [element('time-dense'), element('time-compact')];
  outputs.forEach((output) => (output.textContent = '…'));
  element('gain').textContent = 'Measuring …';
  element('how').textContent = '';
  const input = new Float32Array(compact.inputShape.slice(1).reduce((product, extent) => product * extent, 1));
  const runs = [dense, compact].map((model) => () => model.run(input));
  const times = await medians(runs, () => own === choice);
  if (!times) {
    return;
  }
  const slowest = Math.max(...times.map(({ median }) => median));
  times.forEach(({ median }, i) => {
    outputs[i].textContent = duration(median);
    outputs[i].parentElement.querySelector('.bar').style.width = `${(100 * median) / slowest}%`;
  });
  const gain = (times[0].median / times[1].median).toFixed(2);
  element('gain').textContent = `${networks[name].name}, compact, is ${gain} times as fast.`;
  const label = element('build').querySelector(`[value=${build}]`).textContent;
  element('how').textContent =
    `Medians of ${times[0].samples} samples of ${times[0].runs} and ${times[1].runs} runs, in turns; ` +
    `one image, one thread, ${label}.`;
}

function prepareControls() {
  for (const option of element('build').options) {
    option.disabled = !isSupported(option.value);
  }
  element('build').value = isSupported('simd') ? 'simd' : 'plain';
  if (!isSupported('simd')) {
    complain(new Error('This browser has no SIMD for WebAssembly: the build without it runs, which is slower.'));
  }
  for (let digit = 0; digit < 10; digit++) {
    const file = `digits/${digit}.png`;
    const button = make('button', { type: 'button' }, make('img', { src: file, alt: `example ${digit}`, width: 28, height: 28 }));
    button.addEventListener('click', () => guarded(async () => take(await (await fetch(file)).blob())));
    element('examples').append(button);
  }
  element('choices').addEventListener('change', () => guarded(choose));
  element('again').addEventListener('click', () => guarded(() => (choice++, measure())));
  element('clear').addEventListener('click', prepareBoard);
  element('file').addEventListener('change', ({ target }) =>
    guarded(async () => {
      const [file] = target.files;
      target.value = '';
      if (file) {
        await take(file);
      }
    }),
  );
  board.addEventListener('pointerdown', beginStroke);
  board.addEventListener('pointermove', (event) => {
    if (board.hasPointerCapture(event.pointerId)) {
      draw(event);
      classifyDrawing();
    }
  });
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    document.body.classList.add('dragging');
  });
  document.addEventListener('dragleave', () => document.body.classList.remove('dragging'));
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('dragging');
    const [file] = event.dataTransfer.files;
    guarded(() => (file ? take(file) : Promise.reject(new Error('what was dropped: expected an image file, found none'))));
  });
}

if (isSupported('plain')) {
  prepareControls();
  await choose().catch(complain);
} else {
  document.querySelectorAll('main > :not(#problem)').forEach((part) => (part.hidden = true));
  complain(new Error('This browser has no WebAssembly, or it is switched off: nothing can be run here.'));
}
document.body.dataset.ready = '';

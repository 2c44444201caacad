// The page as a browser shows it, with SCREENSHOTS=FOLDER to keep: node page.mjs BROWSER SITE BUILD ... Draws a 7, drops images,
// takes away what browsers may lack, and looks at what everybody needs: nothing fetched from elsewhere, nothing wider than the
// window, nothing that axe objects to.

import fs from 'node:fs';
import path from 'node:path';
import puppeteer from 'puppeteer-core';
import { serve } from './serve.mjs';

const [executablePath, site, ...builds] = process.argv.slice(2);
const screenshots = process.env.SCREENSHOTS;
const axe = fs.readFileSync('node_modules/axe-core/axe.min.js', 'utf8');
const { server, address } = await serve(site);
const browser = await puppeteer.launch({ executablePath, args: ['--no-sandbox'] });
const problems = [];

function expect(what, found, expected) {
  if (found !== expected) {
    problems.push(`${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
  }
}

/** The page in a window of `width`, ready. `before` runs in it before its own scripts. */
async function open(width, scheme, before = () => {}) {
  const page = await browser.newPage();
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  await page.evaluateOnNewDocument(before);
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(address) && !url.startsWith('data:') && !url.startsWith(`blob:${address}`)) {
      problems.push(`fetches ${url}`);
    }
  });
  page.on('pageerror', (error) => problems.push(`uncaught: ${error.message}`));
  page.on('console', (message) => message.type() === 'error' && problems.push(`console: ${message.text()}`));
  await page.goto(address);
  await page.waitForSelector('body[data-ready]', { timeout: 60_000 });
  return page;
}

const text = (page, selector) => page.$eval(selector, (found) => found.textContent);
const answer = (page) => text(page, '#answer');

async function draw(page, ...strokes) {
  const board = await page.$('#board');
  await board.scrollIntoView();
  const { x, y, width, height } = await board.boundingBox();
  for (const [[startX, startY], ...rest] of strokes) {
    await page.mouse.move(x + startX * width, y + startY * height);
    await page.mouse.down();
    for (const [nextX, nextY] of rest) {
      await page.mouse.move(x + nextX * width, y + nextY * height, { steps: 12 });
    }
    await page.mouse.up();
  }
}

const seven = [[0.28, 0.25], [0.7, 0.25], [0.45, 0.82]];
const one = [[0.5, 0.2], [0.5, 0.8]];

/** Drops a file of the site on the page. */
function drop(page, file, type) {
  return page.evaluate(
    async (file, type) => {
      const data = new DataTransfer();
      data.items.add(new File([await (await fetch(file)).blob()], file, { type }));
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
    },
    file,
    type,
  );
}

async function waitForAnswer(page, expected) {
  const found = (expected) => document.getElementById('answer').textContent === expected;
  const complain = async () => expect('the answer', await answer(page), expected);
  await page.waitForFunction(found, { timeout: 10_000 }, expected).catch(complain);
}

async function isComplaining(page, part) {
  const shown = page.waitForSelector('#problem:not([hidden])', { timeout: 10_000 });
  const found = await shown.then(() => text(page, '#problem'), () => 'nothing');
  if (!found.includes(part)) {
    problems.push(`the page complains: expected '${part}', found '${found}'`);
  }
}

/** What everybody needs of the page as it is now. */
async function looks(page, name, width) {
  const { violations } = await page.evaluate(`${axe}; axe.run()`);
  for (const { id, help, nodes } of violations) {
    problems.push(`${name}: ${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 120)).join('; ')}`);
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  if (wide > width) {
    problems.push(`${name}: ${wide} pixels wide`);
  }
  if (screenshots) {
    await page.screenshot({ path: path.join(screenshots, `${name}.png`), fullPage: true });
  }
}

async function chooseModel(page, name) {
  await page.click(`[name=model][value=${name}]`);
  await page.waitForFunction(() => document.getElementById('gain').textContent.includes('ResNet'), { timeout: 60_000 });
}

for (const width of [1200, 400]) {
  for (const scheme of ['light', 'dark']) {
    const page = await open(width, scheme);
    await draw(page, seven);
    expect(`a drawn 7, ${width} px, ${scheme}`, await answer(page), '7');
    expect('layers of LeNet', await page.$$eval('#layers tr', (rows) => rows.length), 4);
    await looks(page, `lenet-${width}-${scheme}`, width);
    await page.click('#clear');
    expect('after clearing', await answer(page), '');
    await draw(page, one);
    expect('a drawn 1', await answer(page), '1');
    if (scheme === 'light') {
      await chooseModel(page, 'resnet20');
      await drop(page, 'digits/3.png', 'image/png');
      await page.waitForFunction(() => document.getElementById('classes').children.length === 5);
      expect('layers of ResNet-20', await page.$$eval('#layers tr', (rows) => rows.length), 22);
      const gone = (rows) => rows.filter((row) => /gone/.test(row.textContent)).length;
      expect('gone layers', await page.$$eval('#layers tr', gone), 6);
      await looks(page, `resnet20-${width}-${scheme}`, width);
    }
    await page.close();
  }
}

const page = await open(1200, 'light');
for (let digit = 0; digit < 10; digit++) {
  await drop(page, `digits/${digit}.png`, 'image/png');
  await waitForAnswer(page, `${digit}`);
}
// By keyboard alone: an example is a button, and so is the choice of a file.
await page.focus('#examples button:nth-child(4)');
await page.keyboard.press('Enter');
await waitForAnswer(page, '3');
await (await page.$('#file')).uploadFile(path.join(site, 'digits', '8.png'));
await waitForAnswer(page, '8');
await drop(page, 'page.js', 'text/javascript');
await isComplaining(page, 'expected an image that this browser knows');
// The other builds: what was classified is classified again.
for (const build of builds) {
  await page.select('#build', build);
  const named = { plain: 'no SIMD', simd: 'SIMD.', relaxed: 'fused' }[build];
  await page.waitForFunction((named) => document.getElementById('how').textContent.includes(named), { timeout: 60_000 }, named);
  expect(`the answer of the build ${build}`, await answer(page), '8');
}
await page.close();

const without = await open(1200, 'light', () => (WebAssembly.validate = () => false));
await isComplaining(without, 'no SIMD');
expect('the build without SIMD', await without.$eval('#build', (select) => select.value), 'plain');
await draw(without, seven);
expect('a drawn 7 without SIMD', await answer(without), '7');
await without.close();

const bare = await open(1200, 'light', () => delete globalThis.WebAssembly);
await isComplaining(bare, 'no WebAssembly');
await looks(bare, 'no-webassembly', 1200);
await bare.close();

await browser.close();
server.close();
problems.forEach((problem) => console.error(problem));
console.log(`the page: ${problems.length} problems`);
process.exit(problems.length > 0 ? 1 : 0);

// What serve_page.sh asks a browser: node serve_page.mjs BROWSER ADDRESS GUARDED-ADDRESS TOKEN [SCREENSHOTS]
import puppeteer from 'puppeteer-core';
import { open, problemsOf, views } from './page_rules.mjs';

const [executablePath, address, guarded, token, screenshots] = process.argv.slice(2);
const browser = await puppeteer.launch({ executablePath, args: ['--no-sandbox'] });
const problems = [];

const shownRows = (page) =>
  page.$$eval('#models tr', (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));

for (const view of views) {
  const page = await open(browser, view);
  page.on('request', (request) => {
    if (!request.url().startsWith(`${address}/`)) problems.push(`fetches ${request.url()}`);
  });
  page.on('console', (message) => problems.push(`says ${message.text()}`));
  page.on('pageerror', (error) => problems.push(`fails: ${error.message}`));
  await page.goto(address);
  // Rates are of two readings and more.
  await new Promise((done) => setTimeout(done, 4000));
  const rows = await shownRows(page);
  const [broken, lenet, resnet] = rows;
  const expected = (what, is) => is || problems.push(`${view.width} px: expected ${what}, found ${JSON.stringify(rows)}`);
  expected('three models', rows.length === 3 && lenet?.[0] === 'lenet' && resnet?.[0] === 'resnet20');
  expected('what is wrong with the broken one', broken?.[2].startsWith('not ready: '));
  expected('requests and images a second of lenet', Number(lenet?.[3]) > 0 && Number(lenet?.[4]) > 0 && Number(lenet?.[5]) === 0);
  expected('latencies of lenet', /^[0-9.]+ (µs|ms|s)$/.test(lenet?.[6]) && /^[0-9.]+ (µs|ms|s)$/.test(lenet?.[7]));
  expected('nothing of resnet20', Number(resnet?.[3]) === 0 && resnet?.[6] === '–');
  const layers = await page.$$eval('figure figcaption', (captions) => captions.map((caption) => caption.textContent));
  expected('what conv1 keeps', layers.some((layer) => layer.includes('/conv1/Conv') && layer.includes('3 of 20 filters')));
  problems.push(...(await problemsOf(page, view)));
  if (screenshots) await page.screenshot({ path: `${screenshots}/serve-${view.width}-${view.scheme}.png`, fullPage: true });
  await page.close();
}

const page = await open(browser, views[0]);
await page.goto(guarded);
await page.waitForSelector('#ask:not([hidden])', { timeout: 5000 });
problems.push(...(await problemsOf(page, views[0])));
await page.type('#token', token);
await page.click('#ask button');
await page.waitForSelector('#models tr', { timeout: 5000 }).catch(() => problems.push('expected models after the token'));
await browser.close();
problems.forEach((problem) => console.error(problem));
console.log(`${address}: ${problems.length} problems`);
process.exit(problems.length > 0 ? 1 : 0);

// What page_checks.sh asks a browser: node page_checks.mjs BROWSER PAGE
import puppeteer from 'puppeteer-core';
import { open, problemsOf, views } from './page_rules.mjs';

const [executablePath, path] = process.argv.slice(2);
const browser = await puppeteer.launch({ executablePath, args: ['--no-sandbox'] });
const problems = [];
for (const view of views) {
  const page = await open(browser, view);
  page.on('request', (request) => {
    if (request.url() !== `file://${path}`) problems.push(`fetches ${request.url()}`);
  });
  await page.goto(`file://${path}`);
  problems.push(...(await problemsOf(page, view)));
  await page.close();
}
await browser.close();
problems.forEach((problem) => console.error(problem));
console.log(`${path}: ${problems.length} problems`);
process.exit(problems.length > 0 ? 1 : 0);

// What page_checks.sh asks a browser: node page_checks.mjs BROWSER PAGE
import fs from 'node:fs';
import puppeteer from 'puppeteer-core';

const [executablePath, path] = process.argv.slice(2);
const axe = fs.readFileSync('node_modules/axe-core/axe.min.js', 'utf8');
const browser = await puppeteer.launch({ executablePath, args: ['--no-sandbox'] });
const problems = [];
for (const width of [1200, 390]) {
  for (const scheme of ['light', 'dark']) {
    const page = await browser.newPage();
    await page.setViewport({ width, height: 900 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    page.on('request', (request) => {
      if (request.url() !== `file://${path}`) problems.push(`fetches ${request.url()}`);
    });
    await page.goto(`file://${path}`);
    await page.addScriptTag({ content: axe });
    const { violations } = await page.evaluate(() => window.axe.run());
    for (const { id, help, nodes } of violations) {
      problems.push(`${width} px, ${scheme}: ${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 120)).join('; ')}`);
    }
    if (await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth)) {
      problems.push(`${width} px, ${scheme}: wider than the window`);
    }
    await page.close();
  }
}
await browser.close();
problems.forEach((problem) => console.error(problem));
console.log(`${path}: ${problems.length} problems`);
process.exit(problems.length > 0 ? 1 : 0);

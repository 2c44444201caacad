// What every page of ours keeps, as far as a browser can tell: accessible (axe), and no wider than the window.
import fs from 'node:fs';

const axe = fs.readFileSync('node_modules/axe-core/axe.min.js', 'utf8');

// Windows and schemes of colors in which pages are looked at.
export const views = [1200, 390].flatMap((width) => ['light', 'dark'].map((scheme) => ({ width, scheme })));

export async function open(browser, { width, scheme }) {
  const page = await browser.newPage();
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  return page;
}

// What is wrong with a page that is shown.
export async function problemsOf(page, { width, scheme }) {
  // Not as a script of the page, whose policy may allow its own only.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  const problems = violations.map(
    ({ id, help, nodes }) => `${width} px, ${scheme}: ${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 120)).join('; ')}`,
  );
  if (await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth)) {
    problems.push(`${width} px, ${scheme}: wider than the window`);
  }
  return problems;
}

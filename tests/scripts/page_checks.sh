#!/usr/bin/env bash
# Checks a page of ssl-report as browsers and people with other needs meet it: valid HTML (html-validate), accessible (axe, in light
# and dark, 1200 and 390 pixels wide), no wider than the window, and nothing fetched from anywhere.
#
#     cargo run -rp ssl-report -- RECORD.csv -o page.html && tests/scripts/page_checks.sh page.html [CHROMIUM]
#
# Needs Node.js with npm, and Chromium or Chrome.
set -euo pipefail
page=$(realpath "${1:?which page?}")
browser=$(command -v "${2:-chromium}" || command -v google-chrome) || { echo "missing: chromium" >&2; exit 2; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$(dirname "$0")"/page_*.mjs "$folder"
cd "$folder"
npm install --silent --no-save --no-audit --no-fund html-validate@10.17.0 axe-core@4.14.1 puppeteer-core@24.43.1
npx html-validate --preset standard "$page"
node page_checks.mjs "$browser" "$page"

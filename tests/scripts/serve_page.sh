#!/usr/bin/env bash
# Looks at the page of ssl-serve in a browser while the server works: what it shows of models, rates and layers; valid HTML, accessible, no
# wider than the window, and nothing fetched from anywhere else; and how it asks for a token.
#
#     cargo build -p ssl-serve && tests/scripts/serve_page.sh target/debug/ssl-serve [SCREENSHOTS]
#
# Needs Node.js with npm, curl, and Chromium or Chrome. SCREENSHOTS is a folder that keeps what the page looks like.
set -euo pipefail
server=$(realpath "${1:?which ssl-serve?}")
screenshots=${2:+$(realpath "$2")}
browser=$(command -v chromium || command -v google-chrome) || { echo "missing: chromium" >&2; exit 2; }
scripts=$(realpath "$(dirname "$0")") root=$(realpath "$(dirname "$0")/../..")

folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$folder"' EXIT
cp "$scripts"/page_rules.mjs "$scripts"/serve_page.mjs "$folder"
mkdir "$folder/models"
cp "$root"/tools/models/{lenet/lenet,resnet20/resnet20}.sslm "$folder/models"
echo 'not a model' >"$folder/models/broken.sslm"
echo 'a token of the tests' >"$folder/token"

# Starts a server, and says where it is.
start() {
    "$server" --listen 127.0.0.1:0 "$folder/models" "$@" 2>"$folder/log" &
    until grep -q 'models at' "$folder/log"; do sleep 0.1; done
    address=$(grep -o 'http://[0-9.:]*' "$folder/log")
}

cd "$folder"
npm install --silent --no-save --no-audit --no-fund html-validate@10.17.0 axe-core@4.14.1 puppeteer-core@24.43.1
npx html-validate --preset standard "$root/tools/ssl-serve/src/page/index.html"
start --token-file "$folder/token"
guarded=$address
start
while :; do
    curl --silent --output /dev/null --data-binary "@$root/tools/models/lenet/digits/7.png" "$address/v2/models/lenet/classify" || break
done &
node serve_page.mjs "$browser" "$address" "$guarded" "$(<token)" "$screenshots"

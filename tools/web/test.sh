#!/usr/bin/env bash
# Builds the package and the page (build.sh says what that needs), and tests both: what `npm pack` packs in Node.js, its types by
# TypeScript, and the page in Chromium.
#
#   tools/web/test.sh                             # all of it
#   tools/web/test.sh --if-possible plain simd    # these builds; succeeds, and says so, where something that it needs is not there,
#                                                 # unless SSLM_REQUIRE names simd128
#
# SCREENSHOTS=FOLDER keeps what the page looks like, 1200 and 400 pixels wide. PROFILE=web builds as for users; the default compiles
# faster, and computes as fast where it counts. BENCH=1 does so, and prints sizes of the builds and times of runs in Node.js
# instead.
set -euo pipefail
[ -z "${SCREENSHOTS:-}" ] || export SCREENSHOTS=$(realpath "$SCREENSHOTS")
cd "$(dirname "$0")"
if_possible=false
[ "${1:-}" != --if-possible ] || { if_possible=true; shift; }
builds=("$@")
[ $# -gt 0 ] || builds=(plain simd relaxed)
export PROFILE=${PROFILE:-${BENCH:+web}}
PROFILE=${PROFILE:-dev}
absent() {
    echo "NOT TESTED on this machine: the browser's package and page ($1)" >&2
    $if_possible && [[ ,${SSLM_REQUIRE:-}, != *,simd128,* ]] && exit 0
    exit 1
}

{ command -v node && command -v npm; } >/dev/null || absent "no Node.js with npm"
browser=$(command -v chromium || command -v google-chrome) || absent "no Chromium"
[ "$(wasm-bindgen --version 2>/dev/null)" = "wasm-bindgen $(./build.sh --wasm-bindgen-version)" ] ||
    absent "no wasm-bindgen $(./build.sh --wasm-bindgen-version)"
[ -n "${CARGO_FLAGS:-}" ] || [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ] ||
    absent "no target wasm32-unknown-unknown"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && npm install --silent --no-audit --no-fund \
    html-validate@10.17.0 axe-core@4.14.1 puppeteer-core@24.43.1 typescript@5.9.3) || absent "npm packages cannot be had"

cp sslm_web.d.ts "$folder/before.d.ts"
./build.sh "${builds[@]}"
diff "$folder/before.d.ts" sslm_web.d.ts >&2 ||
    { echo "sslm_web.d.ts: expected what the build makes, found another text; the build has replaced it: commit it" >&2; exit 1; }
npm pack --silent --pack-destination "$folder" >/dev/null
cp tests/* "$folder"
site=$PWD/site root=$(cd ../.. && pwd)
cd "$folder"
npm install --silent --no-audit --no-fund ./sslm-web-*.tgz
if [ -n "${BENCH:-}" ]; then
    for wasm in node_modules/sslm-web/dist/*/*.wasm; do
        echo "$(basename "$(dirname "$wasm")"): $(stat -c %s "$wasm") bytes, $(gzip -9 <"$wasm" | wc -c) by gzip"
    done
fi
# Older ones have fused multiply-add behind a flag.
relaxed=$(node --v8-options | grep -o -- --experimental-wasm-relaxed-simd || true)
node ${relaxed:+"$relaxed"} node.mjs "$root" "${builds[@]}"
[ -z "${BENCH:-}" ] || exit 0
npx tsc --noEmit --strict --module nodenext --target es2022 --lib es2022,dom types.ts
npx html-validate --preset standard "$site/index.html"
node page.mjs "$browser" "$site" "${builds[@]}"

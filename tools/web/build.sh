#!/usr/bin/env bash
# Builds the npm package in this folder, and the page that shows it at work:
#
#   rustup target add wasm32-unknown-unknown
#   cargo install wasm-bindgen-cli --version "$(tools/web/build.sh --wasm-bindgen-version)"
#   tools/web/build.sh                      # dist/ (`npm pack` takes it from there) and site/, static files for any web server
#   tools/web/build.sh simd                 # only that build of: simd, plain (without vectors), relaxed (fused multiply-add)
#
# Where the target's standard library is not installed: CARGO names a cargo, CARGO_FLAGS has further arguments of it (such as
# -Zbuild-std=std,panic_abort), and RUSTFLAGS further flags of the compiler. CONVERT names an ssl-convert; without it, one is built.
# PROFILE=dev compiles faster.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
version=$(awk '/^name = "wasm-bindgen"$/ { getline; gsub(/[^0-9.]/, ""); print }' "$root/Cargo.lock")
if [ "${1:-}" = --wasm-bindgen-version ]; then
    echo "$version"
    exit
fi
cargo=${CARGO:-cargo}
profile=${PROFILE:-web}
wasm=${CARGO_TARGET_DIR:-$root/target}/wasm32-unknown-unknown/${profile/dev/debug}/sslm_web.wasm
found=$(wasm-bindgen --version 2>/dev/null || echo none)
[ "$found" = "wasm-bindgen $version" ] ||
    { echo "wasm-bindgen: expected version $version, which Cargo.lock has, found $found" >&2; exit 1; }

convert() {
    cargo run --quiet --profile "${profile/web/release}" --locked --manifest-path "$root/Cargo.toml" -p ssl-convert -- "$@"
}

builds=("$@")
[ $# -gt 0 ] || builds=(plain simd relaxed)
for build in "${builds[@]}"; do
    case $build in
        plain) features=-simd128 ;;
        simd) features=+simd128 ;;
        relaxed) features=+simd128,+relaxed-simd ;;
        *) echo "build: expected plain, simd or relaxed, found $build" >&2; exit 1 ;;
    esac
    # shellcheck disable=SC2086 # these are lists
    RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=$features" "$cargo" build --locked --profile "$profile" -p sslm-web \
        --target wasm32-unknown-unknown --manifest-path "$root/Cargo.toml" ${CARGO_FLAGS:-}
    rm -rf "dist/$build"
    wasm-bindgen --target web --remove-name-section --remove-producers-section --out-dir "dist/$build" "$wasm"
    # Types are the same for all builds, and stand beside this file: what index.js hands on, without what loads a build.
    sed '/^export type InitInput/,$d' "dist/$build/sslm_web.d.ts" >sslm_web.d.ts
    rm "dist/$build"/*.d.ts
done

cp "$root/LICENSE" dist

# The page: what is in page/, the package, the shipped models, and dense forms of them to compare with.
rm -rf site
mkdir -p site/models site/digits
cp page/* index.js site
cp -r dist site
cp "$root"/tools/models/lenet/digits/*.png site/digits
for model in lenet resnet20; do
    cp "$root/tools/models/$model/$model.sslm" site/models
    ${CONVERT:-convert} --dense "$root/tools/models/$model/$model.onnx" -o "site/models/$model-dense.sslm" >/dev/null
done

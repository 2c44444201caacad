#!/usr/bin/env bash
# Builds for another architecture and runs the tests there, under qemu's user emulation.
#
#     tests/scripts/cross.sh aarch64          64-bit ARM with NEON: format, kernels, library, reproducible results
#     tests/scripts/cross.sh i686             32-bit x86, the same
#     tests/scripts/cross.sh armv7            32-bit ARM, the same
#     tests/scripts/cross.sh TARGET quick     without the kernels' tests, which take half an hour under emulation
#     tests/scripts/cross.sh wasm32           that the library compiles for browsers, with and without vectors
#     tests/scripts/cross.sh check            that the library and ssl-run compile for Windows and macOS; nothing of it is run
#
# Needs the target's std (`rustup target add aarch64-unknown-linux-gnu`), a cross compiler that links, and qemu. On Debian:
#     apt-get install gcc-aarch64-linux-gnu gcc-i686-linux-gnu gcc-arm-linux-gnueabihf qemu-user
# Where these lie elsewhere, cargo's own variables say so (CARGO_TARGET_…_LINKER, CARGO_TARGET_…_RUNNER, CARGO). CROSS_FLAGS is handed on to
# cargo: `CROSS_FLAGS=-Zbuild-std` builds std from its source.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
read -ra flags <<<"${CROSS_FLAGS:-}"

# Sets a variable that the caller has not set.
default() {
    [ -n "${!1:-}" ] || export "$1=$2"
}

# Compiles and runs the tests for a target. Optimised: emulation is slow enough.
run() {
    local target=$1
    echo "== $target: reproducible results"
    "$cargo" test --release --locked "${flags[@]}" --target "$target" -p sslm --test reproducible
    echo "== $target: format and library"
    "$cargo" test --release --locked "${flags[@]}" --target "$target" -p sslm-format -p sslm-basics -p sslm --lib --tests
    [ "${2:-}" = quick ] && return
    echo "== $target: kernels"
    "$cargo" test --release --locked "${flags[@]}" --target "$target" -p sslm-kernels --lib --tests
}

case "${1:-}" in
    aarch64)
        default CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER aarch64-linux-gnu-gcc
        default CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER "qemu-aarch64 -L /usr/aarch64-linux-gnu"
        SSLM_REQUIRE=${SSLM_REQUIRE:-neon} run aarch64-unknown-linux-gnu "${2:-}"
        ;;
    i686)
        default CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER i686-linux-gnu-gcc
        default CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_RUNNER "qemu-i386 -L /usr/i686-linux-gnu"
        run i686-unknown-linux-gnu "${2:-}"
        ;;
    armv7)
        default CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER arm-linux-gnueabihf-gcc
        default CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUNNER "qemu-arm -L /usr/arm-linux-gnueabihf"
        run armv7-unknown-linux-gnueabihf "${2:-}"
        ;;
    wasm32)
        for features in "" "-C target-feature=+simd128" "-C target-feature=+simd128,+relaxed-simd"; do
            echo "== wasm32: ${features:-without vectors}"
            RUSTFLAGS="${RUSTFLAGS:-} $features" "$cargo" check --locked "${flags[@]}" --target wasm32-unknown-unknown -p sslm
        done
        ;;
    check)
        for target in x86_64-pc-windows-msvc x86_64-apple-darwin aarch64-apple-darwin; do
            echo "== $target"
            "$cargo" check --locked "${flags[@]}" --target "$target" -p sslm -p ssl-run -p ssl-convert -p ssl-inspect
        done
        ;;
    *)
        sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "$0"
        exit 2
        ;;
esac

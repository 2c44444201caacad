#!/usr/bin/env bash
# Builds for another architecture and runs the tests there, under qemu's user emulation, or by this CPU where it can.
#
#     tests/scripts/cross.sh aarch64          64-bit ARM with NEON: results, format, library, kernels
#     tests/scripts/cross.sh i686             32-bit x86, the same, on x86-64 without emulation: all tests take a minute
#     tests/scripts/cross.sh armv7            32-bit ARM, the same
#     tests/scripts/cross.sh TARGET quick     without the kernels' tests, which take half an hour under emulation
#     tests/scripts/cross.sh TARGET subset    what .ci/run has time for: LeNet's logits by all kernels, and the reproducible results
#     tests/scripts/cross.sh wasm32           that the library compiles for browsers, with and without vectors
#     tests/scripts/cross.sh check            that the library and the tools compile for Windows and macOS; nothing of it is run
#
# Needs the target's std (`rustup target add aarch64-unknown-linux-gnu`), a cross compiler that links, and qemu. On Debian:
#     apt-get install gcc-aarch64-linux-gnu gcc-i686-linux-gnu gcc-arm-linux-gnueabihf qemu-user
# Where these lie elsewhere, cargo's own variables say so (CARGO_TARGET_…_LINKER, CARGO_TARGET_…_RUNNER, CARGO). CROSS_FLAGS is handed on to
# cargo: `CROSS_FLAGS=-Zbuild-std` builds std from its source. With --if-possible behind `TARGET subset` or `check`, it says what was not
# tested where one of these is not there, and succeeds, unless SSLM_REQUIRE names the target's instruction set.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
read -ra flags <<<"${CROSS_FLAGS:-}"

has_std() {
    [[ ${CROSS_FLAGS:-} = *build-std* ]] || [ -d "$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/$1/lib" ]
}

# Ends the script where something is missing.
absent() {
    echo "NOT TESTED on this machine: $isa under emulation (no $1)" >&2
    [[ $if_possible = --if-possible && ,${SSLM_REQUIRE:-}, != *,$isa,* ]] && exit 0
    exit 1
}

# Sets cargo's variable for what links or runs programs, unless the caller has set it, and looks for it.
needs() {
    local variable
    variable=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_$1
    [ -n "${!variable:-}" ] || export "$variable=$2"
    read -r program _ <<<"${!variable}"
    command -v "$program" >/dev/null || absent "$program"
}

# Compiles and runs tests for the target.
tests() {
    echo "== $target: $1"
    "$cargo" test --locked "${flags[@]}" --target "$target" "${@:2}"
}

run() {
    local target=$1 isa=$2 gnu=$3 runner=$4 extent=${5:-} if_possible=${6:-}
    has_std "$target" || absent "std for $target"
    needs LINKER "$gnu-gcc"
    needs RUNNER "$runner"
    # What the emulated machine has, whatever is required of this one.
    export SSLM_REQUIRE=$isa
    case $extent in
        subset)
            # Kernels that are slow but compile in a third of the time: compiling is most of it.
            export CARGO_INCREMENTAL=0
            local kernels=profile.dev.package.sslm-kernels
            tests "results" --config "$kernels.opt-level=0" --config "$kernels.overflow-checks=false" \
                --config "$kernels.debug-assertions=false" -p sslm --test golden --test reproducible -- --skip for_any_threads
            ;;
        # Optimised: emulation is slow enough.
        quick | '') tests "results, format and library" --release -p sslm-format -p sslm-basics -p sslm --lib --tests ;;
        *) echo "expected quick, subset or nothing, found $extent" >&2; exit 2 ;;
    esac
    [ -n "$extent" ] || tests "kernels" --release -p sslm-kernels --lib --tests
}

# What runs programs for 32-bit x86: the loader of their C library where this CPU and kernel run it, or else qemu.
i686_runner() {
    local lib=/usr/i686-linux-gnu/lib
    if "$lib/ld-linux.so.2" --version >/dev/null 2>&1; then
        echo "$lib/ld-linux.so.2 --library-path $lib"
    else
        echo "qemu-i386 -L /usr/i686-linux-gnu"
    fi
}

case "${1:-}" in
    aarch64) run aarch64-unknown-linux-gnu neon aarch64-linux-gnu "qemu-aarch64 -L /usr/aarch64-linux-gnu" "${@:2}" ;;
    i686) run i686-unknown-linux-gnu portable i686-linux-gnu "$(i686_runner)" "${@:2}" ;;
    armv7) run armv7-unknown-linux-gnueabihf portable arm-linux-gnueabihf "qemu-arm -L /usr/arm-linux-gnueabihf" "${@:2}" ;;
    wasm32)
        for features in "" "-C target-feature=+simd128" "-C target-feature=+simd128,+relaxed-simd"; do
            echo "== wasm32: ${features:-without vectors}"
            RUSTFLAGS="${RUSTFLAGS:-} $features" "$cargo" check --locked "${flags[@]}" --target wasm32-unknown-unknown -p sslm
        done
        ;;
    check)
        for target in x86_64-pc-windows-msvc x86_64-apple-darwin aarch64-apple-darwin; do
            if [ "${2:-}" = --if-possible ] && ! has_std "$target"; then
                echo "NOT TESTED on this machine: that it compiles for $target (no std for it)" >&2
                continue
            fi
            echo "== $target"
            RUSTFLAGS="${RUSTFLAGS:-} -D warnings" "$cargo" check --locked "${flags[@]}" --target "$target" -p sslm -p ssl-run -p ssl-convert -p ssl-inspect
        done
        ;;
    *)
        sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "$0"
        exit 2
        ;;
esac

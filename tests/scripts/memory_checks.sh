#!/usr/bin/env bash
# What sees memory errors that the kernels' tests do not see by themselves (those put their buffers beside unmapped pages).
#
#     tests/scripts/memory_checks.sh [miri | asan | tsan | loom]
#
# miri  interprets the tests of the portable kernels, one case of each table: any undefined behaviour, and data races between
#       threads. Takes some ten minutes.
# asan  runs all tests of the kernels, in all instruction sets of this CPU, with AddressSanitizer: accesses outside of any allocation,
#       of the tests or of the kernels' own.
# tsan  runs the tests of the team of threads and of what it shares with ThreadSanitizer: data races. The standard library is not
#       instrumented, so races inside of it are left out.
# loom  tries every order in which the threads of a small team can meet. Takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Tests one crate with a tool of the nightly toolchain, which must have a component.
nightly() {
    if ! rustup component list --toolchain nightly --installed 2>/dev/null | grep -q "^$1"; then
        echo "missing: rustup toolchain install nightly --component $1" >&2
        exit 2
    fi
    shift
    cargo +nightly "$@" --locked -p sslm-kernels
}

miri() {
    # The tests' threads live as long as the process; their pages are made of addresses; they compare bits, of NaNs too.
    MIRIFLAGS="-Zmiri-ignore-leaks -Zmiri-permissive-provenance -Zmiri-deterministic-floats" nightly miri miri test
}

asan() {
    # With a target, build scripts and macros are left alone.
    RUSTFLAGS="-Zsanitizer=address" nightly rustc test --target "$(rustc -vV | sed -n 's/^host: //p')"
}

tsan() {
    TSAN_OPTIONS="suppressions=$PWD/tests/scripts/tsan_suppressions.txt" \
        RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
        nightly rustc test --target "$(rustc -vV | sed -n 's/^host: //p')" --lib
}

loom() {
    RUSTFLAGS="--cfg loom" cargo test --release --locked -p sslm-kernels --lib models
}

case "${1:-all}" in
    all) miri && asan && tsan && loom ;;
    miri | asan | tsan | loom) "$1" ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

#!/usr/bin/env bash
# Changes the code in small ways, one at a time, and says which changes no test notices.
#
#     tests/scripts/mutants.sh [format | compact | fold] [more arguments of cargo mutants]
#
# format   the file and its rules, by the tests of sslm-format alone (10 to 20 s a mutant)
# compact  what can go: compact and slices, by the whole-system tests that are about it (minutes a mutant)
# fold     fewer nodes: fold, by the same
#
# Mutants that survive and are right to are listed, with reasons, in .cargo/mutants.toml.
#
# Needs: cargo install cargo-mutants.
set -euo pipefail
cd "$(dirname "$0")/../.."

part=${1:-format}
[ $# = 0 ] || shift
format=()
for file in container codec check read write rules infer shape; do format+=(-f "model-format/src/$file.rs"); done
convert=tools/ssl-convert/src
system=(--test-package sslm-tests --test-package ssl-convert)
about=(-- --test suite -- parity:: certificate:: random_graphs::exactly export:: products:: channels_first:: kept::)
case "$part" in
    format) cargo mutants "${format[@]}" "$@" ;;
    compact) cargo mutants -f $convert/compact.rs -f $convert/slices.rs "${system[@]}" "$@" "${about[@]}" ;;
    fold) cargo mutants -f $convert/fold.rs "${system[@]}" "$@" "${about[@]}" ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

#!/usr/bin/env bash
# Changes the code in small ways, one at a time, and says which changes no test notices.
#
#     tests/scripts/mutants.sh [at-once] [format | axes | ops | compact | fold | patterns | convert] [more arguments of cargo mutants]
#
# at-once  all changes are compiled at once, by mutants_at_once.py: seconds a mutant
#
# format   the file and its rules, shapes, extents and axis maps, by the tests of sslm-format alone (10 to 20 s a mutant)
# axes     axis maps and shapes, by the whole-system tests that are about what walks them: most functions of these have no other tests
# ops      what operators say of themselves: axis maps, constants, shapes, by the same
# compact  what can go: compact, slices, and what a convolution answers, by the same (minutes a mutant)
# fold     fewer nodes: fold, by the same
# patterns what exporters write as several nodes: gates, norms, shuffle, and normalisations, by the same
# convert  what the converter knows of operators: their import, what of them can go, and their export, by the same
#
# Mutants that survive and are right to are listed, with reasons, in .cargo/mutants.toml.
#
# Needs: cargo install cargo-mutants.
set -euo pipefail
cd "$(dirname "$0")/../.."

mutants=(cargo mutants)
if [ "${1:-}" = at-once ]; then
    mutants=(python3 tests/scripts/mutants_at_once.py)
    shift
fi
part=${1:-format}
[ $# = 0 ] || shift
format=()
for file in container codec check read write rules infer shape extent axes; do format+=(-f "model-format/src/$file.rs"); done
convert=tools/ssl-convert/src
system=(--test-package sslm-tests --test-package ssl-convert)
# The unit tests among them are those of what operators answer.
about=(-- --lib --test suite -- ops:: axes:: parity:: folding:: kept:: products:: channels_first:: batch:: golden:: recurrent:: export::
    certificate:: import:: fusion:: indices:: opsets:: orders::)
case "$part" in
    format) "${mutants[@]}" "${format[@]}" "$@" ;;
    axes) "${mutants[@]}" -f model-format/src/axes.rs -f model-format/src/shape.rs "${system[@]}" "$@" "${about[@]}" ;;
    ops) "${mutants[@]}" -f 'model-format/src/op/*.rs' "${system[@]}" "$@" "${about[@]}" ;;
    compact) "${mutants[@]}" -f $convert/compact.rs -f $convert/slices.rs -f $convert/ops/conv/compact.rs "${system[@]}" "$@" "${about[@]}" ;;
    fold) "${mutants[@]}" -f $convert/fold.rs "${system[@]}" "$@" "${about[@]}" ;;
    patterns) "${mutants[@]}" -f $convert/gates.rs -f $convert/norms.rs -f $convert/shuffle.rs -f $convert/ops/normalize.rs "${system[@]}" "$@" "${about[@]}" ;;
    convert) "${mutants[@]}" -f "$convert/ops/**" "${system[@]}" "$@" "${about[@]}" ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

#!/usr/bin/env bash
# Fuzzing of everything that reads a stranger's bytes, of compaction, and of what others call: the server and the C interface.
#
#     tests/scripts/fuzz.sh [TARGET | all] [SECONDS for each target]
#
# Builds the targets of tests/fuzz and runs them one after the other, by one process: all from what is in tests/fuzz/corpus, to which
# nothing is added. Prints a line for each target: executions, how many of them came how far, edges reached, findings. A finding is
# left in tests/fuzz/artifacts, and the exit code is 1: add it to the target's corpus, where the ordinary tests run it, and mend it.
#
# SSLM_FUZZ_SANITIZER=none is some times as fast as the default, address. Assertions and checks for overflow are on in either case.
# SSLM_FUZZ_CORPUS=DIR keeps what is found beside the corpora, a folder for each target, and goes on from there the next time.
#
# Needs: cargo install cargo-fuzz, and a C++ compiler, of which libFuzzer is made.
set -euo pipefail
cd "$(dirname "$0")/../.."

readers="container records round_trip onnx_messages npy image record json"
networks="sslm onnx graph"
front_ends="http grpc dataset c"
targets=${1:-all}
seconds=${2:-60}
[ "$targets" != all ] || targets="$readers $networks $front_ends"
for target in $targets; do
    if ! [[ " $readers $networks $front_ends " == *" $target "* ]]; then
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
        echo "expected one of all $readers $networks $front_ends, found $target" >&2
        exit 2
    fi
done

# The fuzzer's instrumentation is not a stable part of the compiler, but the stable compiler has it.
export RUSTC_BOOTSTRAP=1
options=(--fuzz-dir tests/fuzz --sanitizer "${SSLM_FUZZ_SANITIZER:-address}")
[ -z "${CARGO_TARGET_DIR:-}" ] || options+=(--target-dir "$CARGO_TARGET_DIR")
for target in $targets; do
    cargo fuzz build "${options[@]}" "$target"
done

artifacts() {
    mkdir -p "tests/fuzz/artifacts/$1"
    find "tests/fuzz/artifacts/$1" -type f | wc -l
}

found=0
for target in $targets; do
    log=$(mktemp)
    kept="${SSLM_FUZZ_CORPUS:-$(mktemp -d)}/$target"
    before=$(artifacts "$target")
    mkdir -p "$kept"
    # What fails ends the fuzzer, not the time that it has.
    end=$((SECONDS + seconds))
    while [ $SECONDS -lt $end ]; do
        cargo fuzz run "${options[@]}" "$target" "$kept" "tests/fuzz/corpus/$target" -- -max_total_time=$((end - SECONDS)) \
            -timeout=20 -rss_limit_mb=3000 -max_len=32768 -print_final_stats=1 >>"$log" 2>&1 || true
        # Where it does not even start, it would not the next time.
        grep -q number_of_executed_units "$log" || { tail -n 20 "$log" >&2; exit 2; }
    done
    findings=$(($(artifacts "$target") - before))
    awk -v target="$target" -v findings="$findings" '
        /number_of_executed_units/ { executions += $2 }
        / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:" && $(i + 1) > edges) edges = $(i + 1) }
        /^REACHED/ { reached[$3] += $2 }
        END {
            stages = ""
            for (stage in reached) stages = stages ", " reached[stage] " " stage
            print target ": " executions " executions" stages ", " edges " edges, " findings " findings"
        }' "$log"
    rm "$log"
    found=$((found + findings))
done
[ "$found" = 0 ]

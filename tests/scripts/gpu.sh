#!/bin/sh
# Tests and benchmarks of the CUDA backend on a machine that has only a GPU and CUDA: no Rust, no network.
#
#   tests/scripts/gpu.sh pack FOLDER        where Rust is: builds everything into FOLDER (some 45 MB)
#   FOLDER/gpu.sh test FOLDER OUT           where the GPU is: runs the tests, and compute-sanitizer on some where it is found
#   FOLDER/gpu.sh bench FOLDER OUT          where the GPU is: times layers and networks, by PyTorch, too, if it is found
#
# OUT gets machine.txt, tests.json, sanitizer.json, gpu.json and gpu_peers.json, and a log of each program. `test` fails if a test
# does; both fail if no GPU can be used.
set -eu

# Subjects of the whole-system tests that compute on every device. Of the kernels' tests, all do.
subjects="channels_first cuda fusion indices opsets parity products random_graphs recurrent transformed_weights"

pack() {
    mkdir -p "$folder/tools/models" "$folder/tests/golden"
    # The programs of the tests and the bench, as cargo names them.
    cargo test --release --no-run --message-format=json -p sslm-kernels -p sslm-tests --tests |
        python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["kind"] == ["test"]:
        print(message["target"]["name"], message["executable"])
' >"$folder/programs"
    cargo bench --no-run --message-format=json -p sslm-benches --bench gpu |
        python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["kind"] == ["bench"]:
        print("bench", message["executable"])
' >>"$folder/programs"
    for name in kernels suite bench; do
        program=$(sed -n "s/^$name //p" "$folder/programs")
        strip -o "$folder/$name" "$program"
    done
    rm "$folder/programs"
    cp -r tools/models/lenet "$folder/tools/models/"
    cp -r tests/golden/lenet "$folder/tests/golden/"
    cp tests/scripts/gpu.sh benches/gpu_peers.py benches/data/layers.json "$folder/"
}

# Runs a program, keeps its log, and prints a line of JSON.
run() {
    name=$1
    shift
    start=$(date +%s)
    if "$@" >"$out/$name.log" 2>&1; then passed=true; else passed=false; fi
    echo "{\"name\": \"$name\", \"passed\": $passed, \"seconds\": $(($(date +%s) - start))}"
}

# Lines of JSON as a list.
list() {
    sed '$!s/$/,/; 1s/^/[/; $s/$/]/'
}

machine() {
    { uname -srm; nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv || true; } >"$out/machine.txt"
}

test_all() {
    machine
    export SSLM_REQUIRE=cuda SSLM_ROOT="$folder" RUST_BACKTRACE=1
    {
        for family in $("$folder/kernels" --list | sed -n 's/^\([a-z_]*\)::.*: test$/\1/p' | sort -u); do
            run "$family" "$folder/kernels" "$family::"
        done
        for subject in $subjects; do
            run "models-$subject" "$folder/suite" "$subject::"
        done
    } >"$out/tests.lines"
    list <"$out/tests.lines" >"$out/tests.json"
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck initcheck synccheck; do
            sanitizer="compute-sanitizer --tool $tool --error-exitcode 9"
            run "$tool-models" $sanitizer "$folder/suite" cuda::every_operator_runs_there
            run "$tool-lines" $sanitizer "$folder/kernels" axis::means
            run "$tool-tiles" $sanitizer "$folder/kernels" conv_transpose::
        done >"$out/sanitizer.lines"
        list <"$out/sanitizer.lines" >"$out/sanitizer.json"
    else
        echo "compute-sanitizer was not found" >&2
    fi
    rm -f "$out"/*.lines
    ! grep -q '"passed": false' "$out/tests.json" "$out"/sanitizer.json 2>/dev/null
}

bench() {
    machine
    "$folder/bench" --bench --json "$out/gpu.json"
    if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
        python3 "$folder/gpu_peers.py" "$folder/layers.json" "$out/gpu_peers.json"
    else
        echo "PyTorch was not found: it is not compared with" >&2
    fi
}

[ $# -ge 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
action=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
if [ "$action" = pack ]; then
    pack
    exit
fi
mkdir -p "$3"
out=$(cd "$3" && pwd)
case $action in
test) test_all ;;
bench) bench ;;
*) echo "expected pack, test or bench, found $action" >&2; exit 2 ;;
esac

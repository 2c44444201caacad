#!/usr/bin/env bash
# Sees that a kernel which became slower is found out: times a layer, times it again with every call done twice, and compares the two
# records. Takes about a minute.
#
#     tests/scripts/slowed_kernel.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

record() {
    SSLM_RECORD="$folder/$1.csv" cargo bench --locked -q -p sslm-benches --bench layers -- 'LeNet conv2 convolution/.*/1$' >"$folder/log" 2>&1 ||
        { cat "$folder/log" >&2; exit 2; }
}
record before
SSLM_SLOWED=x record slowed # every kernel's name has its tile's size in it

status=0
cargo run --locked -q -rp ssl-report -- compare "$folder/before.csv" "$folder/slowed.csv" || status=$?
if [ $status -ne 1 ]; then
    echo "expected exit code 1, something became slower; found $status" >&2
    exit 1
fi
echo "the slowed kernels were found out"

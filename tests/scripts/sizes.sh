#!/usr/bin/env bash
# Prints the tables of docs/sizes.md: how large programs are that run models, and how much memory a process takes that does. What is given
# is handed on to cargo, such as --target x86_64-unknown-linux-musl. Takes ten to twenty minutes: each program is optimised as a whole.
#
#     tests/scripts/sizes.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

# Builds a program and prints its path.
build() {
    cargo build --locked --quiet --profile small --message-format=json-render-diagnostics "$@" |
        grep -o '"executable":"[^"]*"' | tail -n 1 | cut -d '"' -f 4
}
in_mb() { awk "BEGIN { printf \"%.1f\", $1 / $2 }"; }
row() {
    local name=$1 path
    shift
    path=$(build "$@")
    echo "| $name | $(in_mb "$(stat -c %s "$path")" 1e6) |"
}

echo "| program | MB |"
echo "|---|---:|"
row "\`minimal\`: all instruction sets" -p sslm --example minimal "$@"
row "\`minimal\`, \`avx2\` and portable" -p sslm --example minimal --no-default-features --features avx2 "$@"
row "\`minimal\`, portable" -p sslm --example minimal --no-default-features "$@"
row "\`ssl-run\`" -p ssl-run "$@"
row "\`ssl-run\`, PNG and JPEG, without CUDA" -p ssl-run --no-default-features --features avx2,avx512 "$@"
row "\`ssl-run\`, PNG and JPEG, without CUDA, \`avx2\` and portable" -p ssl-run --no-default-features --features avx2 "$@"

memory=$(build -p sslm --example memory "$@")
echo
echo "| model | file | before it is read | read | prepared | after a run |"
echo "|---|---:|---:|---:|---:|---:|"
for model in tools/models/lenet/lenet.sslm tools/models/resnet20/resnet20.sslm; do
    cells=$("$memory" "$model" | awk '{ printf " %.1f (%.1f) |", $2 / 1024, $3 / 1024 }')
    echo "| \`$(basename "$model")\` | $(in_mb "$(stat -c %s "$model")" 1048576) |$cells"
done

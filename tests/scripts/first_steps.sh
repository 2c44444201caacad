#!/usr/bin/env bash
# Follows the README word for word, as somebody does who has just cloned the repository: in a fresh clone of the last commit, with an empty
# home folder, the commands under "Run it", "In Python" and "In C and C++". Each must give its first answer.
#
#     tests/scripts/first_steps.sh [rust] [python] [c]        all three unless some are named
#
# Needs a Rust toolchain; for Python, python3 with venv; for C, make, cc and c++. Takes ten minutes on two cores.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/home"
git clone --quiet "$root" "$work/sslm"
cd "$work/sslm"

# The toolchain stays where it is; nothing else of the user's home is seen.
export RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup} CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}
export HOME=$work/home
unset CARGO_TARGET_DIR VIRTUAL_ENV PYTHONPATH

# The first block of commands under a heading of the README.
commands() {
    awk -v heading="## $1" '$0 == heading { here = 1 } here && /^```/ { fence++; next } here && fence == 1 { print } fence == 2 { exit }' README.md
}

# Runs them, and expects a text in what they print.
follow() {
    local block output
    block=$(commands "$1")
    [ -n "$block" ] || { echo "README has no commands under '## $1'" >&2; exit 1; }
    echo "+ $block"
    output=$(bash -euo pipefail -c "$block")
    echo "$output"
    grep -q "$2" <<<"$output" || { echo "'## $1': expected '$2' in the output" >&2; exit 1; }
}

for language in "${@:-rust python c}"; do
    for one in $language; do
        case $one in
            rust) follow "Run it" "100.00 %  7" ;;
            python)
                python3 -m venv "$work/venv"
                PATH=$work/venv/bin:$PATH follow "In Python" "label.*7"
                ;;
            c) follow "In C and C++" "vertical" ;;
            *) echo "expected rust, python or c, found '$one'" >&2; exit 2 ;;
        esac
    done
done
echo "the README's first steps work"

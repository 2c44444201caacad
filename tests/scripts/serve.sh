#!/usr/bin/env bash
# Tests ssl-serve with what others made: the clients of Triton (serve_clients.py), and a browser (serve_page.sh).
#
#     cargo build --workspace --bins && tests/scripts/serve.sh target/debug [--if-possible]
#
# With --if-possible it says what was not tested where Python, its packages, Node.js or Chromium cannot be had, and succeeds.
set -euo pipefail
tools=$(realpath "${1:?where are the tools?}") if_possible=${2:-}
cd "$(dirname "$0")"
absent() {
    echo "NOT TESTED on this machine: $1" >&2
    [ "$if_possible" = --if-possible ] || exit 1
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if python3 -m venv "$folder/venv" >/dev/null 2>&1 &&
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'tritonclient[http,grpc]==2.73.0' onnx==1.23.2 numpy; then
    "$folder/venv/bin/python" serve_clients.py "$tools"
else
    absent "ssl-serve by the clients of Triton (no Python with tritonclient)"
fi
if command -v npm >/dev/null && command -v curl >/dev/null && { command -v chromium || command -v google-chrome; } >/dev/null; then
    ./serve_page.sh "$tools/ssl-serve"
else
    absent "ssl-serve's page (no Node.js with npm, curl and Chromium)"
fi

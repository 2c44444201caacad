#!/usr/bin/env bash
# Builds the Python package, installs it in a virtual environment of its own and runs its tests. What is given is handed on to pytest:
#
#   tools/python/test.sh                  # what takes less than a minute
#   tools/python/test.sh --slow           # 500 random graphs, 100 000 calls; PyTorch, Jupyter, Ray and Spark where they are
#   tools/python/test.sh --if-possible    # succeeds, and says so, where there is no Python, or its packages cannot be had
#
# PROFILE=wheel builds as for users; the default compiles faster, and computes as fast where it counts. PYTHON names the interpreter (3.11
# or newer).
set -euo pipefail
cd "$(dirname "$0")"
if_possible=false
[ "${1:-}" != --if-possible ] || { if_possible=true; shift; }
absent() {
    echo "NOT TESTED on this machine: the Python package ($1)" >&2
    $if_possible && exit 0 || exit 1
}

target=${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target}
venv=$target/python-venv
python=${PYTHON:-python3}
"$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    absent "no Python 3.11 or newer with venv"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install 'maturin>=1.11,<2' 'numpy>=1.24' 'onnx>=1.15' 'onnxruntime>=1.17' 'pytest>=8' 'pillow>=10' 'pyarrow>=17' ||
    absent "its packages cannot be had"
rm -rf "$target/python-wheels"
PATH=$venv/bin:$PATH maturin build --quiet --profile "${PROFILE:-dev}" --out "$target/python-wheels"
pip install --force-reinstall --no-deps "$target"/python-wheels/*.whl
"$venv/bin/python" -m pytest --quiet "$@"

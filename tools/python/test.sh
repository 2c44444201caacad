#!/usr/bin/env bash
# Builds the Python package, installs it in a virtual environment of its own and runs its tests. What is given is handed on to pytest:
#
#   tools/python/test.sh           # what takes less than a minute
#   tools/python/test.sh --slow    # 500 random graphs, 100 000 calls, PyTorch and Jupyter where they are, too
#
# PROFILE=wheel builds as for users; the default compiles faster, and computes as fast where it counts. PYTHON names the interpreter (3.11
# or newer).
set -euo pipefail
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target}
venv=$target/python-venv
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install 'maturin>=1.11,<2' 'numpy>=1.24' 'onnx>=1.15' 'onnxruntime>=1.17' 'pytest>=8' 'pillow>=10'
rm -rf "$target/python-wheels"
PATH=$venv/bin:$PATH maturin build --quiet --profile "${PROFILE:-dev}" --out "$target/python-wheels"
pip install --force-reinstall --no-deps "$target"/python-wheels/*.whl
"$venv/bin/python" -m pytest --quiet "$@"

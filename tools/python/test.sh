#!/usr/bin/env bash
# Builds the Python package, installs it in a virtual environment of its own and runs its tests. What is given is handed on to pytest:
#
#   tools/python/test.sh                  # what takes less than a minute
#   tools/python/test.sh --slow           # 500 random graphs, 100 000 calls; PyTorch, Jupyter, Ray and Spark where they are
#   tools/python/test.sh --if-possible    # succeeds, and says so, where there is no Python, or its packages cannot be had
#   tools/python/test.sh --workspace      # the library as `cargo test --workspace` has built it, so that nothing is compiled a second time
#
# PROFILE=wheel builds as for users; the default compiles faster, and computes as fast where it counts. PYTHON names the interpreter (3.11
# or newer).
set -euo pipefail
cd "$(dirname "$0")"
if_possible=false
[ "${1:-}" != --if-possible ] || { if_possible=true; shift; }
workspace=false
[ "${1:-}" != --workspace ] || { workspace=true; shift; }
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
path=$venv/bin:$PATH
if $workspace; then
    # Alone, the package asks for fewer features of what all crates depend on, and cargo compiles them again, the kernels among them. So
    # maturin is given a cargo that builds all of the workspace, of which it takes the library.
    mkdir -p "$target/python-cargo"
    cat >"$target/python-cargo/cargo" <<EOF
#!/usr/bin/env bash
[ "\$1" != rustc ] ||
    set -- build --quiet --workspace --bins --lib --profile "${PROFILE:-dev}" --locked --message-format json-render-diagnostics
exec "$(command -v cargo)" "\$@"
EOF
    chmod +x "$target/python-cargo/cargo"
    path=$target/python-cargo:$path
fi
PATH=$path maturin build --quiet --profile "${PROFILE:-dev}" --out "$target/python-wheels"
pip install --force-reinstall --no-deps "$target"/python-wheels/*.whl
"$venv/bin/python" -m pytest --quiet "$@"

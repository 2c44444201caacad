#!/usr/bin/env python3
"""Whole published networks with random weights and masks: onnxruntime on the masked ONNX against ssl-run on the .sslm files.

    python tests/scripts/light_models.py [--bin target/release] [--only vgg] [--seed 0] [--strict]

Needs numpy, onnx and onnxruntime, and the tools in --bin. The onnx package ships the graphs of AlexNet, ZFNet, VGG-19, SqueezeNet,
Inception v1 and v2, DenseNet-121, ShuffleNet and ResNet-50 without their weights. This fills them with random elements of a scale
that keeps activations finite, zeroes filters, channels and columns at random, and whole layers where a path around them remains.
It converts them, compact and with --dense, and compares what the networks answer to two random images. Prints a table. Exit code 1
if an answer differs by 1e-4 of the largest, or a tool crashes; with --strict also if a network cannot be converted.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

TOLERANCE = 1e-4  # relative to the largest magnitude of the output
LEAST_SPREAD = 1e-2  # how much two images' outputs must differ, by the same measure, for a comparison to mean anything
SHARES = {"filters": 0.3, "channels": 0.2, "columns": 0.3, "layers": 0.1}  # what becomes zero


class Network:
    """A light model on its way to a masked one."""

    def __init__(self, path, seed):
        self.rng = np.random.default_rng(seed)
        self.model = onnx.load(path)
        self.graph = self.model.graph
        self.arrays = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        for node in [n for n in self.graph.node if n.op_type == "ConstantOfShape"]:
            self.arrays[node.output[0]] = np.zeros(self.arrays[node.input[0]], np.float32)
            self.graph.node.remove(node)
        for i in [i for i in self.graph.input if i.name in self.arrays]:
            self.graph.input.remove(i)
        self.input, = self.graph.input
        self.layers = [n for n in self.graph.node if n.op_type in ("Conv", "Gemm")]
        reshaped = {n.output[0]: n.input[0] for n in self.graph.node if n.op_type == "Reshape"}
        self.weights = {n.output[0]: reshaped.get(n.input[1], n.input[1]) for n in self.layers}
        self.fill()

    def fill(self):
        """Random elements for every weight, by what reads it."""
        readers = {}
        for node in reversed(self.graph.node):
            for i, name in enumerate(node.input):
                # An Unsqueeze only brings a vector into shape for its reader.
                readers[name] = readers[node.output[0]] if node.op_type == "Unsqueeze" else (node.op_type, i)
        factors = {("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 0), ("Mul", 1)}
        for name, array in self.arrays.items():
            if array.dtype == np.float32:
                factor = readers.get(name) in factors
                elements = self.rng.uniform(0.5, 1.5, array.shape) if factor else self.rng.normal(0, 0.1, array.shape)
                self.arrays[name] = elements.astype(np.float32)
        removed = self.removable()
        for node in self.layers:
            self.arrays[self.weights[node.output[0]]] = self.masked(node, node.output[0] in removed)

    def removable(self):
        """Outputs of random layers that can all be removed together: a path from the input to the output remains."""
        removed = set()
        for layer in self.layers:
            if self.rng.random() < SHARES["layers"]:
                reached = {self.input.name}
                for node in self.graph.node:
                    if node.output[0] not in removed | {layer.output[0]} and reached & set(node.input):
                        reached |= set(node.output)
                if self.graph.output[0].name in reached:
                    removed.add(layer.output[0])
        return removed

    def masked(self, node, removed):
        """Weights with zeros of every kind; what is left is scaled after He, so that activations keep their scale."""
        w = self.rng.standard_normal(self.arrays[self.weights[node.output[0]]].shape, np.float32)
        if removed:
            return np.zeros_like(w)
        filters_last = node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute)
        by_filter = w.T if filters_last else w
        gone = lambda kind, shape: self.rng.random(shape) < SHARES[kind]
        if node is not self.layers[-1]:  # whose filters are the classes
            by_filter[gone("filters", by_filter.shape[0])] = 0
        by_filter[:, gone("channels", by_filter.shape[1])] = 0
        by_filter[:, gone("columns", by_filter.shape[1:])] = 0
        filters = np.count_nonzero(by_filter.any(axis=tuple(range(1, w.ndim))))
        return w * np.float32(np.sqrt(2 * filters / max(1, np.count_nonzero(w))))

    def save(self, path):
        del self.graph.initializer[:]
        self.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in self.arrays.items())
        self.model.ir_version = 4  # the first in which weights need not be inputs
        onnx.save(self.model, path)

    def temper(self, path, x):
        """Scales the last layer so that a Softmax behind it sees elements of about 1, and has no single winner."""
        softmax = self.graph.node[-1]
        if softmax.op_type == "Softmax":
            output = self.graph.output[0].name
            self.graph.node.pop()
            self.graph.output[0].name = softmax.input[0]
            self.save(path)
            last = self.layers[-1]
            for name in (self.weights[last.output[0]], *last.input[2:]):
                self.arrays[name] = self.arrays[name] / answers(path, self.input.name, x).std()
            self.graph.node.append(softmax)
            self.graph.output[0].name = output


def answers(path, name, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in x])


MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, file=sys.stderr)
sys.exit(code)
"""
"""Runs a command and appends its peak memory in MB to stderr, from a small process: a child starts with its parent's peak."""


def run(*command):
    """Exit code, output, errors, seconds and peak memory in MB of a command."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURED, *(str(c) for c in command)], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    errors, _, memory = done.stderr.rstrip().rpartition("\n")
    return done.returncode, done.stdout, errors, seconds, int(memory)


def difference(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max() if found.shape == expected.shape else np.inf


class Refused(Exception):
    """The converter cannot convert it, and says why."""


def check(path, seed, binaries):
    """The row of the table for one model, and whether it is right."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        masked, sslm, dense = folder / "masked.onnx", folder / "compact.sslm", folder / "dense.sslm"
        network = Network(path, seed)
        shape = [d.dim_value for d in network.input.type.tensor_type.shape.dim]
        # Noise, and a tone of its own for each image: noise alone averages out before the output.
        tones = network.rng.standard_normal((2, shape[1], 1, 1), np.float32)
        x = network.rng.standard_normal((2, *shape[1:]), np.float32) + 3 * tones
        network.temper(masked, x)
        network.save(masked)
        expected = answers(masked, network.input.name, x)
        spread = difference(expected[0], expected[1])
        np.save(folder / "x.npy", x)
        errors, figures = {}, {}
        for target, flags in ((sslm, []), (dense, ["--dense"])):
            code, out, err, seconds, memory = run(binaries / "ssl-convert", masked, "-o", target, *flags)
            if code == 2:
                raise Refused("; ".join(re.findall(r"^  - ([^']*?):? (?:node|found)", err, re.M)) or err.strip())
            if code != 0:
                raise RuntimeError(f"ssl-convert ends with {code}: {err}")
            figures[target] = (re.split(r"\s{2,}", re.search(r"^ *total .*", out, re.M)[0].strip()), seconds, memory)
            code, _, err, *_ = run(binaries / "ssl-run", target, "--input", folder / "x.npy", "--output", folder / "y.npy")
            if code != 0:
                raise RuntimeError(f"ssl-run ends with {code}: {err}")
            errors[target] = difference(np.load(folder / "y.npy"), expected)
        (_, before, after, *_), seconds, memory = figures[sslm]
        sizes = [f.stat().st_size / 1e6 for f in (masked, sslm)]
        row = [len(network.graph.node), before, after, *(f"{s:.1f}" for s in sizes), f"{errors[sslm]:.1e}", f"{errors[dense]:.1e}",
               f"{spread:.2f}", f"{seconds:.1f}", f"{memory:.0f}"]
        return row, max(errors.values()) <= TOLERANCE and spread >= LEAST_SPREAD


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("target/release"))
    parser.add_argument("--only", default="", help="only the models whose name contains this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strict", action="store_true", help="a network that cannot be converted is a failure")
    arguments = parser.parse_args()
    onnxruntime.set_default_logger_severity(4)
    form = "{:14} {:>6} {:>15} {:>14} {:>8} {:>9} {:>12} {:>10} {:>7} {:>10} {:>8}"
    heads = "model,nodes,MACs before,after,ONNX MB,.sslm MB,compact err,dense err,spread,convert s,peak MB"
    print(form.format(*heads.split(",")), flush=True)
    failed = refused = 0
    for path in sorted((pathlib.Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx")):
        name = path.stem.removeprefix("light_")
        if arguments.only in name:
            try:
                row, right = check(path, arguments.seed, arguments.bin)
                print(form.format(name, *row), flush=True)
                failed += not right
            except Refused as e:
                refused += 1
                print(f"{name}: not converted: {e}", flush=True)
            except RuntimeError as e:
                failed += 1
                print(f"{name}: {e}", flush=True)
    print(f"{failed} failed, {refused} not converted")
    return 1 if failed or (arguments.strict and refused) else 0


if __name__ == "__main__":
    sys.exit(main())

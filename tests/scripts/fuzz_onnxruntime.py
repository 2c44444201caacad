#!/usr/bin/env python3
"""Random zero-masked graphs: onnxruntime on the masked ONNX against sslm on the compact and the dense network.

    python tests/scripts/fuzz_onnxruntime.py --graphs 1000 [--seed 0] [--keep DIR] [--models DIR]

Needs the package sslm (`pip install ./tools/python`), numpy, onnx and onnxruntime. Every graph mixes operators, masks (filters, channels, columns, whole layers), biases that are
not zero behind zero filters, BatchNormalization, residual sums, concatenations, groups, asymmetric pads, dilations and strides.
Where a size is open, two are run. With --models, the .onnx files of a folder are checked instead, such as those that tests/random_graphs.rs saves, which have more
operators and several outputs. Exit code 1 if any graph is wrong, refused or crashes; the graphs that failed stay in --keep.
What onnxruntime cannot run is skipped, and counted by its reason. A process for each core checks one graph after the other.
"""
import argparse
import collections
import concurrent.futures
import functools
import multiprocessing
import os
import pathlib
import re
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import sslm
from onnx import TensorProto, helper, numpy_helper

from fuzz_layers import Layers

TOLERANCE = 1e-4  # relative to the largest magnitude of the output, with 1 as the least


class Graph(Layers):
    """A random graph, grown node by node from one image input."""

    def __init__(self, rng):
        self.rng = rng
        self.nodes, self.weights = [], []
        self.channels = int(rng.integers(1, 9))
        self.size = tuple(int(n) for n in rng.integers(7, 15, 2))
        self.opset = int(rng.choice([9, 11, 13, 17, 18, 20, 21]))
        self.fixed = False
        self.count = 0

    def name(self, prefix):
        self.count += 1
        return f"{prefix}{self.count}"

    def weight(self, array):
        name = self.name("w")
        array = np.asarray(array, np.float32)
        kind = self.rng.random()
        if kind < 0.1:
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        elif kind < 0.2:  # in half precision
            self.weights.append(numpy_helper.from_array(array.astype(np.float16), f"{name}.half"))
            self.nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
        elif kind < 0.3 and array.ndim > 1 and self.opset >= 13:  # quantised, filter by filter
            scale = np.abs(array).reshape(len(array), -1).max(1) / 127 + 1e-3
            zero = self.rng.integers(-3, 4, len(array))
            quantised = np.rint(array / scale.reshape(-1, *[1] * (array.ndim - 1))) + zero.reshape(-1, *[1] * (array.ndim - 1))
            parts = {"int8": quantised.clip(-128, 127).astype(np.int8), "scale": scale.astype(np.float32), "zero": zero.astype(np.int8)}
            self.weights += [numpy_helper.from_array(part, f"{name}.{suffix}") for suffix, part in parts.items()]
            self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}.{suffix}" for suffix in parts], [name], axis=0))
        else:
            self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op, inputs, **attributes):
        out = self.name(op.lower())
        self.nodes.append(helper.make_node(op, inputs, [out], name=out, **attributes))
        return out

    def mask(self, w):
        """Zeros of every kind in a weight tensor whose first axis is filters and second is channels."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.08:
            w[:] = 0.0  # a removed layer
        if kind < 0.7:
            w[rng.random(w.shape[0]) < rng.choice([0.0, 0.3, 0.7])] = -0.0 if rng.random() < 0.3 else 0.0
        if kind > 0.3:
            w[:, rng.random(w.shape[1]) < rng.choice([0.0, 0.3, 0.6])] = 0.0
        if w.ndim == 4 and kind > 0.5:
            w[:, rng.random(w.shape[1:]) < rng.choice([0.3, 0.6])] = 0.0
        return w

    def bias(self, n):
        b = self.rng.normal(0, 1, n)
        b[self.rng.random(n) < 0.3] = 0.0
        return b

    def window(self, h, w, pool=False):
        """Attributes of a sliding window that fits h x w, and the resulting size."""
        rng = self.rng
        k = [int(rng.integers(1, min(4, s) + 1)) for s in (h, w)]
        s = [int(n) for n in rng.integers(1, 3, 2)]
        d = [int(rng.integers(1, 3)) if (k_ - 1) * 2 + 1 <= size and not pool else 1 for k_, size in zip(k, (h, w))]
        attributes = dict(kernel_shape=k, strides=s)
        if not pool or (self.opset >= 10 and rng.random() < 0.3):
            attributes["dilations"] = d
        else:
            d = [1, 1]
        kind = rng.random()
        if kind < 0.2:
            # onnxruntime refuses SAME where the kernel leaves gaps between its positions.
            modes = ["SAME_UPPER", "SAME_LOWER", "VALID"] if k[0] >= s[0] and k[1] >= s[1] else ["VALID"]
            attributes["auto_pad"] = str(rng.choice(modes))
            if attributes["auto_pad"] != "VALID":
                attributes.pop("dilations", None)
                return attributes, [-(-n // st) for n, st in zip((h, w), s)]
            pads = [0, 0, 0, 0]
        else:
            pads = [int(rng.integers(0, (k[i % 2]) if pool else 3)) for i in range(4)]
            attributes["pads"] = pads
        out = [(n + pads[i] + pads[i + 2] - ((k[i] - 1) * d[i] + 1)) // s[i] + 1 for i, n in enumerate((h, w))]
        return attributes, out

    def conv(self, x, c, size):
        rng = self.rng
        groups = [g for g in (1, 2, 3, 4, c) if c % g == 0]
        group = int(rng.choice(groups))
        filters = group * int(rng.integers(1, 5 if group > 2 else 14))
        attributes, out = self.window(*size)
        w = self.mask(rng.normal(0, 1, (filters, c // group, *attributes["kernel_shape"])))
        inputs = [x, self.weight(w)] + ([self.weight(self.bias(filters))] if rng.random() < 0.8 else [])
        y = self.add("Conv", inputs, group=group, **attributes)
        return y, filters, out

    def batch_norm(self, x, c):
        rng = self.rng
        gamma = rng.normal(1, 0.5, c)
        gamma[rng.random(c) < 0.2] = 0.0
        inputs = [gamma, self.bias(c), rng.normal(0, 1, c), rng.uniform(0.3, 2, c)]
        return self.add("BatchNormalization", [x] + [self.weight(p) for p in inputs])

    def attention(self, x, c, size):
        """Every channel, or every position, as a mixture of all of them."""
        integers = lambda *n: self.stored(numpy_helper.from_array(np.array(n, np.int64), self.name("s")))
        lines = self.add("Reshape", [x, integers(0, c, size[0] * size[1])])
        positions = self.add("Transpose", [lines], perm=[0, 2, 1])
        by_channel = self.rng.random() < 0.5
        alike = self.add("MatMul", [lines, positions] if by_channel else [positions, lines])
        op, scale = str(self.rng.choice(["Mul", "Div"])), np.float32(0.1 / (size[0] * size[1]))
        shares = self.add("Softmax", [self.add(op, [alike, self.weight(scale if op == "Mul" else 1 / scale)])], axis=2)
        y = self.add("MatMul", [shares, lines] if by_channel else [lines, shares])
        return self.add("Reshape", [y, integers(0, c, *size)])

    def recurrent(self, x, c, size):
        """A layer that goes along the columns, of whose units some are always 0."""
        rng = self.rng
        op, gates = [("LSTM", 4), ("GRU", 3), ("RNN", 1)][int(rng.integers(0, 3))]
        direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
        ways, hidden = 1 + (direction == "bidirectional"), int(rng.integers(1, 10))
        w, r = rng.normal(0, 0.5, (ways, gates, hidden, c)), rng.normal(0, 0.5, (ways, gates, hidden, hidden))
        b, zero = rng.normal(0, 0.5, (ways, 2, gates, hidden)), rng.random(hidden) < 0.3
        w[:, :, :, rng.random(c) < 0.3] = 0.0
        w[:, :, zero] = r[:, :, zero] = r[:, :, :, zero] = b[:, :, :, zero] = 0.0
        w, r, b = w.reshape(ways, -1, c), r.reshape(ways, -1, hidden), b.reshape(ways, -1)
        columns = self.add("AveragePool", [x], kernel_shape=[size[0], 1])
        shape = self.stored(numpy_helper.from_array(np.array([0, c, -1], np.int64), self.name("s")))
        x = self.add("Transpose", [self.add("Reshape", [columns, shape])], perm=[2, 0, 1])
        stored = [self.stored(numpy_helper.from_array(a.astype(np.float32), self.name("w"))) for a in (w, r, b)]
        more = {"linear_before_reset": int(rng.integers(0, 2))} if op == "GRU" else {}
        y = self.add(op, [x, *stored], direction=direction, hidden_size=hidden, **more)
        self.fixed = True
        shape = self.stored(numpy_helper.from_array(np.array([0, ways * hidden, 1, size[1]], np.int64), self.name("s")))
        return self.add("Reshape", [self.add("Transpose", [y], perm=[2, 1, 3, 0]), shape]), ways * hidden, (1, size[1])

    def stored(self, tensor):
        self.weights.append(tensor)
        return tensor.name

    def channels_last(self, x, c):
        """Some layers on the last axis, between Transposes."""
        rng = self.rng
        x = self.add("Transpose", [x], perm=[0, 2, 3, 1])
        for _ in range(int(rng.integers(1, 5))):
            kind = rng.random()
            if kind < 0.6:
                rows = int(rng.integers(1, 8))
                w = self.mask(rng.normal(0, 1 / np.sqrt(c), (rows, c)))
                x = self.add("MatMul", [x, self.weight(w.T.copy())])
                x, c = self.add("Add", [x, self.weight(self.bias(rows))]), rows
            elif kind < 0.8 and self.opset >= 17:
                scale, shift = self.weight(rng.normal(1, 0.5, c)), self.weight(self.bias(c))
                x = self.add("LayerNormalization", [x, scale, shift], axis=-1, epsilon=0.1)
            else:
                x = self.add("Relu", [x])
        return self.add("Transpose", [x], perm=[0, 3, 1, 2]), c

    def grow(self, x, c, size, depth):
        """A chain of random layers from x; yields the last value, its channels and its size."""
        rng = self.rng
        for _ in range(depth):
            if rng.random() < 0.35:
                x, c, size = self.layer(x, c, size)
                continue
            kind = rng.random()
            if kind < 0.34:
                x, c, size = self.conv(x, c, size)
            elif kind < 0.46:
                x = self.add("Relu", [x])
            elif kind < 0.54:
                x = self.batch_norm(x, c)
            elif kind < 0.60:
                alpha, bias = float(rng.uniform(0.1, 1)), float(rng.choice([1.0, 2.0]))
                x = self.add("LRN", [x], size=int(rng.choice([1, 3, 5])), alpha=alpha, beta=0.75, bias=bias)
            elif kind < 0.70 and min(size) > 1:
                op = str(rng.choice(["MaxPool", "AveragePool"]))
                attributes, out = self.window(*size, pool=True)
                if op == "AveragePool":
                    attributes.pop("dilations", None)
                    attributes["count_include_pad"] = int(rng.integers(0, 2))
                x, size = self.add(op, [x], **attributes), out
            elif kind < 0.80 and min(size) > 2:
                # A residual block: a 1x1 or 3x3 convolution to the same shape beside the shortcut.
                k = int(rng.choice([1, 3]))
                w = self.mask(rng.normal(0, 1, (c, c, k, k)))
                branch = self.add("Conv", [x, self.weight(w), self.weight(self.bias(c))], kernel_shape=[k, k], pads=[k // 2] * 4)
                if rng.random() < 0.5:
                    branch = self.batch_norm(branch, c)
                x = self.add("Add", [branch, x] if rng.random() < 0.5 else [x, branch])
            elif kind < 0.88:
                other, more = x, c
                if rng.random() < 0.7:
                    more = int(rng.integers(1, 7))
                    w = self.mask(rng.normal(0, 1, (more, c, 1, 1)))
                    other = self.add("Conv", [x, self.weight(w), self.weight(self.bias(more))], kernel_shape=[1, 1])
                x, c = self.add("Concat", [x, other], axis=1), c + more
            elif kind < 0.92:
                shape = [(c, 1, 1), (1, c, 1, 1), (1,), (1, c, *size)][int(rng.integers(0, 4))]
                self.fixed |= shape == (1, c, *size)
                x = self.add("Add", [x, self.weight(rng.normal(0, 1, shape))])
            elif kind < 0.94:
                x = self.add(str(rng.choice(["Identity", "Dropout"])), [x])
            elif kind < 0.945:
                x, self.fixed = self.attention(x, c, size), True
            elif kind < 0.95:
                x, c, size = self.recurrent(x, c, size)
            elif kind < 0.96:
                x = self.function(x, c, size)[0]
            elif kind < 0.97:
                x = self.add(str(rng.choice(["Max", "Min"])), [x, self.weight(rng.normal(0, 1, (c, 1, 1)))])
            elif kind < 0.975 and self.opset >= 9:
                condition = self.add("Less", [x, self.weight(rng.normal(0, 1, (c, 1, 1)))])
                x = self.add("Where", [condition, x, self.weight(rng.normal(0, 1, (1,)))])
            elif kind < 0.985 and self.opset >= 11 and max(size) < 20:
                x, c, size = self.space(x, c, size)
            elif kind < 0.99:
                x, c = self.channels_last(x, c)
            elif kind < 0.995:
                x, c, self.fixed = *self.volume(x, c, size), True
            else:
                x = self.add("Relu", [x])
        return x, c, size

    def space(self, x, c, size):
        """Padded, also around channels; resized; or channels that become positions."""
        rng = self.rng
        kind = rng.integers(0, 3)
        if kind == 0:
            before, after, top, left, bottom, right = (int(n) for n in rng.integers(0, 3, 6))
            top, left = top - int(size[0] > 4), left - int(size[1] > 4)
            pads = self.name("pads")
            self.weights.append(numpy_helper.from_array(np.array([0, before, top, left, 0, after, bottom, right]), pads))
            x = self.add("Pad", [x, pads, self.weight(0.5)])
            return x, c + before + after, (size[0] + top + bottom, size[1] + left + right)
        if kind == 1 or c % 4:
            # Where a factor changes no extent, onnxruntime copies; ONNX and PyTorch resize by the factor nevertheless.
            factors = [float(rng.choice([1.0, 2.0, 0.6, 1.3][: 4 if n > 3 else 3 if n > 1 else 2])) for n in size]
            # ONNX's shape inference has more digits than onnxruntime when it runs: where these make another size, onnxruntime is of two minds.
            by_inference = lambda n, f: int(n * float(np.float32(f)))
            factors = [f if int(np.float32(n) * np.float32(f)) == by_inference(n, f) else 1.0 for n, f in zip(size, factors)]
            mode, roi = str(rng.choice(["nearest", "linear", "cubic"])), self.weight([])
            coordinates = str(rng.choice(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]))
            x = self.add("Resize", [x, roi, self.weight([1, 1, *factors])], mode=mode, coordinate_transformation_mode=coordinates)
            return x, c, tuple(int(np.float32(n) * np.float32(f)) for n, f in zip(size, factors))
        x = self.add("DepthToSpace", [x], blocksize=2, mode=str(rng.choice(["DCR", "CRD"])))
        return x, c // 4, tuple(2 * n for n in size)

    def volume(self, x, c, size):
        """A convolution over a volume, whose slices are channels before and after."""
        rng = self.rng
        integers = lambda *n: self.stored(numpy_helper.from_array(np.array(n, np.int64), self.name("s")))
        depth, channels, filters = (int(n) for n in rng.integers(2, 5, 3))
        w = self.mask(rng.normal(0, 1, (depth * channels, c, 1, 1)))
        x = self.add("Conv", [x, self.weight(w), self.weight(self.bias(depth * channels))])
        x = self.add("Reshape", [x, integers(0, channels, depth, *size)])
        kernel, stride = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        w = self.mask(rng.normal(0, 1, (filters, channels, kernel, 3, 3)))
        pads = [kernel // 2, 1, 1] * 2
        x = self.add("Conv", [x, self.weight(w), self.weight(self.bias(filters))], strides=[stride, 1, 1], pads=pads)
        x = self.add(str(rng.choice(["Relu", "Sigmoid"])), [x])
        depth = (depth + 2 * (kernel // 2) - kernel) // stride + 1
        return self.add("Reshape", [x, integers(0, filters * depth, *size)]), filters * depth

    def build(self):
        rng = self.rng
        x, c, size = self.grow("x", self.channels, self.size, int(rng.integers(1, 8)))
        classifier, pooled = rng.random() < 0.7, rng.random() < 0.4
        if classifier:
            if pooled:
                op = str(rng.choice(["GlobalAveragePool", "GlobalMaxPool", "ReduceMax", "ReduceL2"]))
                x, size = self.over(op, x, [2, 3], 18) if op.startswith("Reduce") else self.add(op, [x]), (1, 1)
            features = c * size[0] * size[1]
            if rng.random() < 0.5:
                x = self.add("Flatten", [x])
            else:
                shape = numpy_helper.from_array(np.array([[0, -1], [-1, features]][int(rng.integers(0, 2))], np.int64), self.name("s"))
                self.weights.append(shape)
                x = self.add("Reshape", [x, shape.name])
            for _ in range(int(rng.integers(1, 3))):
                rows = int(rng.integers(1, 20))
                w = self.mask(rng.normal(0, 1 / np.sqrt(features), (rows, features)))
                if rng.random() < 0.6:
                    x = self.add("Gemm", [x, self.weight(w), self.weight(self.bias(rows))], transB=1, alpha=float(rng.choice([1.0, 0.5])))
                else:
                    x = self.add("MatMul", [x, self.weight(w.T.copy())])
                    if rng.random() < 0.7:
                        x = self.add("Add", [x, self.weight(self.bias(rows))])
                if rng.random() < 0.5:
                    x = self.add("Relu", [x])
                features = rows
            if rng.random() < 0.3:
                x = self.add(str(rng.choice(["Softmax", "LogSoftmax"])), [x], axis=1)
        # A shape stored in the graph fixes the image's size.
        fixed = self.fixed or (classifier and not pooled) or rng.random() < 0.5
        shape = ["batch", self.channels, *(self.size if fixed else ("height", "width"))]
        info = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        graph = helper.make_graph(self.nodes, "fuzz", [info("x", shape)], [info(x, None)], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return model, self.size


def reason(error):
    """Why onnxruntime refuses, without names and numbers of the one graph."""
    return re.sub(r"/\S+|'[^']*'|\"[^\"]*\"|\w*\d+\w*", "_", str(error).splitlines()[0])[-120:]


def answers(model, inputs):
    """What onnxruntime answers."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": x}) for x in inputs]


def check(model, size, rng):
    """"passed", "skipped: " and why, or "failed: " and what is wrong. Images have `size`; where the model leaves it open, another one, too."""
    _, channels, *dims = model.graph.input[0].type.tensor_type.shape.dim
    sizes = [size, [n + int(rng.integers(0, 6)) for n in size]] if not all(d.dim_value for d in dims) else [[d.dim_value for d in dims]]
    inputs = [rng.normal(0, 1, (int(rng.integers(1, 4)), channels.dim_value, *size)).astype(np.float32) for size in sizes]
    try:
        expected = answers(model.SerializeToString(), inputs)
    except Exception as e:  # what onnxruntime refuses proves nothing about us
        return f"skipped: {reason(e)}"
    if not all(np.isfinite(e).all() for outputs in expected for e in outputs):
        return "skipped: onnxruntime yields NaN or infinity"
    names = [o.name for o in model.graph.output]
    # onnxruntime sums LRN's windows by running totals: a large neighbour leaves its rounding error in all later channels.
    tolerance = TOLERANCE * (10 if any(n.op_type == "LRN" for n in model.graph.node) else 1)

    def wrong(found, wanted):
        """What is wrong with the outputs, if something is."""
        for name, one, other in zip(names, wanted, found):
            if one.shape != other.shape:
                return f"{name}: shape {other.shape}, expected {one.shape}"
            error = np.abs(one.astype(np.float64) - other).max(initial=0) / max(1.0, np.abs(one.astype(np.float64)).max(initial=0))
            if not error < tolerance:
                return f"{name}: relative error {error:.3g}"
        return None

    with tempfile.TemporaryDirectory() as folder:
        small = pathlib.Path(folder, "small.onnx")
        for dense in (False, True):
            form = "dense" if dense else "compact"
            try:
                # Once for each model, the compact network as ONNX is compared, too. The converter's own comparison is left out: it has
                # no least magnitude, and refuses what is left of outputs that cancel.
                file = sslm.convert(model, dense=dense, verify=0, export_onnx=None if dense else small).sslm
                network = sslm.Model(file, threads=int(rng.integers(1, 3)))
                for x, wanted in zip(inputs, expected):
                    found = network(x)
                    if problem := wrong(found.values() if isinstance(found, dict) else [found], wanted):
                        return f"failed: {form} at {x.shape}: {problem}"
            except sslm.Error as e:
                return f"failed: {form}: {e}"
        try:
            exported = answers(str(small), inputs)
        except Exception as e:
            return f"failed: export: {e}"
        for x, found, wanted in zip(inputs, exported, expected):
            if problem := wrong(found, wanted):
                return f"failed: export at {x.shape}: {problem}"
    return "passed"


def one(keep, task):
    """Checks one graph, grown from a seed or read from a file; tells of it if it fails. Yields "passed", "failed", or why it was skipped."""
    seed, path = task
    rng = np.random.default_rng(seed)
    model, size = (onnx.load(path), (13, 11)) if path else Graph(rng).build()
    name = path.name if path else f"{seed}.onnx"
    try:
        outcome = check(model, size, rng)
    except BaseException:  # a panic is one
        onnx.save(model, keep / name)
        print(f"{name}: ended the check", flush=True)
        raise
    if not outcome.startswith("failed"):
        return outcome
    onnx.save(model, keep / name)
    print(f"{name}: {outcome}", flush=True)
    return "failed"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=pathlib.Path, default=pathlib.Path("target/fuzz-failures"))
    parser.add_argument("--models", type=pathlib.Path, help="check the .onnx files of this folder instead of random graphs")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.graphs)
    tasks = list(enumerate(sorted(arguments.models.glob("*.onnx")))) if arguments.models else [(seed, None) for seed in seeds]
    arguments.keep.mkdir(parents=True, exist_ok=True)
    # Each process has one core; where all cores pass its small layers around, it takes several times as long.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    # Processes that are forked may hang where a library has threads already.
    processes = multiprocessing.get_context("spawn")
    quiet = dict(initializer=onnxruntime.set_default_logger_severity, initargs=(4,))
    with concurrent.futures.ProcessPoolExecutor(mp_context=processes, **quiet) as pool:
        tally = collections.Counter(pool.map(functools.partial(one, arguments.keep), tasks, chunksize=16))
    for outcome, count in tally.most_common():
        print(f"{count:6} {outcome}")
    return 1 if tally["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Makes `.sslm` files that must load for ever: small models of every operator, as ssl-convert writes them today, beside their inputs and
the outputs of onnxruntime. `tests/frozen.rs` reads them; what is there is never made anew.

Usage: python tests/scripts/frozen.py FOLDER [--convert ssl-convert] [--only NAME,...]
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 21


class Net:
    """A model under construction, all of whose named nodes are outputs."""

    def __init__(self, **inputs):
        self.random = np.random.default_rng(7)
        self.inputs, self.nodes, self.stored, self.outputs = inputs, [], [], []

    def floats(self, *shape):
        return self.store(self.random.uniform(-1, 1, shape).astype(np.float32))

    def store(self, array):
        array = np.asarray(array)
        name = f"w{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(array.astype(np.int64) if array.dtype == int else array, name))
        return name

    def node(self, op, *inputs, count=1, out=True, **attributes):
        """A node; lists among its inputs are stored integers. Its outputs are those of the model unless `out` is false."""
        inputs = [i if isinstance(i, str) else self.store(i) for i in inputs]
        names = [f"{op}{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(count)]
        self.nodes.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        self.outputs += names if out else []
        return names[0] if count == 1 else names

    def model(self):
        def info(name, dims, of):
            return helper.make_tensor_value_info(name, of, dims)

        inputs = [info(name, dims, TensorProto.FLOAT) for name, (dims, _) in self.inputs.items()]
        graph = helper.make_graph(self.nodes, "frozen", inputs, [], self.stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        # What is inferred of a value that is no output is what an output has to say.
        known = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
        model.graph.output.extend(known.get(name) or info(name, None, TensorProto.FLOAT) for name in self.outputs)
        return model


def layers():
    """What format 0.1 has."""
    net = Net(x=(["N", 4, 8, 8], [2, 4, 8, 8]))
    weights = net.random.uniform(-1, 1, [6, 4, 3, 3]).astype(np.float32)
    weights[2] = 0
    weights[:, 1] = 0
    bias = net.floats(6)
    conv = net.node("Conv", "x", net.store(weights), bias, pads=[1, 1, 1, 1])
    y = net.node("Relu", conv)
    net.node("Conv", y, net.floats(4, 3, 3, 3), net.floats(4), group=2)
    pooled = net.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    net.node("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])
    means = net.node("GlobalAveragePool", y)
    net.node("GlobalMaxPool", y)
    net.node("LRN", y, size=3)
    net.node("BatchNormalization", pooled, net.floats(6), net.floats(6), net.floats(6), net.store(np.ones(6, np.float32)))
    flat = net.node("Flatten", means)
    scores = net.node("Gemm", flat, net.floats(5, 6), net.floats(5), transB=1)
    net.node("Softmax", scores, axis=1)
    net.node("Reshape", pooled, [-1, 24, 4])
    net.node("Concat", pooled, pooled, axis=1)
    net.node("Mul", y, conv)
    net.node("Add", y, net.floats(1, 1, 8, 8))
    net.node("ConvTranspose", pooled, net.floats(6, 3, 2, 2), strides=[2, 2])
    net.node("InstanceNormalization", pooled, net.floats(6), net.floats(6))
    net.node("Transpose", pooled, perm=[0, 2, 3, 1])
    net.node("Slice", y, [1], [7], [2], [2])
    net.node("Gather", y, [4, 0, 3], axis=1)
    net.node("Pad", y, [0, 0, 1, 2, 0, 0, 0, 1], net.store(np.float32(0.5)))
    net.node("Resize", pooled, "", net.store(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    net.node("ReduceMean", y, [2], keepdims=1)
    net.node("Expand", net.node("ReduceMean", y, [3], keepdims=1, out=False), [1, 1, 1, 5])
    net.node("ArgMax", scores, axis=1)
    return net


def functions():
    """Normalisations, reductions and choices."""
    net = Net(x=(["N", 4, 6, 6], [2, 4, 6, 6]))
    net.node("LayerNormalization", "x", net.floats(6), net.floats(6), axis=-1)
    last = net.node("Transpose", "x", perm=[0, 2, 3, 1], out=False)
    last = net.node("LayerNormalization", last, net.floats(4), net.floats(4), axis=-1, out=False)
    channels = net.node("Transpose", last, perm=[0, 3, 1, 2], out=False)
    net.node("Conv", channels, net.floats(3, 4, 1, 1), net.floats(3))
    zero = net.store(np.float32(0))
    net.node("Where", net.node("Greater", "x", zero, out=False), "x", zero)
    net.node("ReduceMax", "x", [1], keepdims=0)
    net.node("ReduceSum", "x", [2, 3], keepdims=1)
    net.node("LogSoftmax", "x", axis=1)
    net.node("GroupNormalization", "x", net.floats(4), net.floats(4), num_groups=2)
    for op in ["Sigmoid", "Tanh", "Erf", "HardSwish", "Sqrt", "Exp"]:
        net.node(op, net.node("Abs", "x", out=False))
    return net


def space():
    """Positions: scaled, shuffled, sampled."""
    net = Net(x=(["N", 4, 6, 6], [2, 4, 6, 6]), grid=(["N", 3, 3, 2], [2, 3, 3, 2]), rois=([3, 4], [3, 4]))
    net.node("Resize", "x", "", "", [2, 4, 9, 9], mode="cubic")
    net.node("DepthToSpace", "x", blocksize=2)
    net.node("SpaceToDepth", "x", blocksize=2)
    net.node("GridSample", "x", "grid", align_corners=0)
    net.node("RoiAlign", "x", "rois", [0, 1, 0], output_height=2, output_width=2, sampling_ratio=2)
    return net


def indices():
    """Products, and elements at computed places."""
    net = Net(x=([3, 5], [3, 5]), y=([5, 4], [5, 4]))
    net.node("MatMul", "x", "y")
    largest, places = net.node("TopK", "x", [2], axis=1, count=2)
    net.node("GatherElements", "x", places, axis=1)
    net.node("ScatterElements", "x", places, largest, axis=1, reduction="add")
    row = net.node("ArgMax", "x", axis=1, keepdims=1, out=False)
    net.node("GatherND", "x", row, batch_dims=1)
    first = net.node("Slice", row, [0], [2], [0], out=False)
    lines = net.node("Min", first, [2], out=False)
    net.node("ScatterND", "y", lines, net.floats(2, 4))
    return net


def open_sizes():
    """Extents that depend on the input's."""
    net = Net(x=(["N", 4, "H", "W"], [2, 4, 6, 5]))
    shape = net.node("Shape", "x", out=False)
    net.node("Cast", shape, to=TensorProto.FLOAT)
    width = net.node("Gather", shape, net.store(np.int64(3)), out=False)
    half = net.node("Div", net.node("Gather", shape, [2], out=False), [2], out=False)
    columns = net.node("Range", net.store(np.int64(0)), width, net.store(np.int64(1)), out=False)
    net.node("Cast", columns, to=TensorProto.FLOAT)
    net.node("Slice", "x", [0], half, [2])
    batch = net.node("Gather", shape, [0], out=False)
    size = net.node("Gather", shape, [2, 3], out=False)
    turned = net.node("Gather", shape, [3, 0, 2, 1], out=False)
    net.node("Reshape", "x", turned)
    line = net.node("ReduceMean", "x", [1, 2], keepdims=1, out=False)
    net.node("Expand", line, net.node("Concat", batch, [1], size, axis=0, out=False))
    return net


def sequences():
    """Recurrent layers."""
    net = Net(x=([5, "N", 3], [5, 2, 3]))
    for op, gates in [("LSTM", 4), ("GRU", 3), ("RNN", 1)]:
        weights = [net.floats(2, gates * 4, 3), net.floats(2, gates * 4, 4), net.floats(2, 8 * gates)]
        net.node(op, "x", *weights, hidden_size=4, direction="bidirectional")
    return net


def volumes():
    """Convolutions over volumes."""
    net = Net(x=(["N", 2, 4, 5, 5], [2, 2, 4, 5, 5]))
    net.node("Conv", "x", net.floats(3, 2, 3, 3, 3), net.floats(3), pads=[1] * 6)
    net.node("ConvTranspose", "x", net.floats(2, 2, 2, 2, 2), strides=[2] * 3)
    return net


MODELS = {f.__name__: f for f in [layers, functions, space, indices, open_sizes, sequences, volumes]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--convert", default="target/release/ssl-convert")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(MODELS))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        sslm, known = (arguments.folder / f"{name}.{extension}" for extension in ["sslm", "npz"])
        if sslm.exists():
            print(f"{sslm} is there, and stays")
            continue
        net = MODELS[name]()
        model = net.model()
        inputs = {n: net.random.uniform(-1, 1, shape).astype(np.float32) for n, (_, shape) in net.inputs.items()}
        if "rois" in inputs:
            inputs["rois"] = np.array([[0, 0, 4, 4], [1, 1, 5, 3], [0.5, 0, 3, 6]], np.float32)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        outputs = dict(zip(net.outputs, session.run(None, inputs)))
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / f"{name}.onnx"
            onnx.save(model, source)
            subprocess.run([arguments.convert, source, "-o", sslm], check=True, stdout=subprocess.DEVNULL)
        np.savez(known, **inputs, **outputs)
        print(f"{sslm}: {sslm.stat().st_size} bytes, {known}: {known.stat().st_size} bytes")


if __name__ == "__main__":
    main()

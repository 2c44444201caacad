#!/usr/bin/env python3
"""What NaN and infinities become, as onnxruntime computes it: writes tests/golden/special-values.json.

    python tests/scripts/special_values.py

Needs numpy, onnx and onnxruntime. Each case is a small network of one operator, or of a few that sslm computes together, inputs with
NaN, infinities and zeros of either sign among ordinary numbers, and the outputs of onnxruntime. tests/numerics.rs runs each case in
every instruction set, on every device, and as the imported network that fuses nothing. Where onnxruntime's answer depends on where
in memory an element lies, the case says what sslm answers instead, and why (docs/numerics.md). The sixth digit of an element may
depend on the CPU that onnxruntime computes on, as LRN's does; the test allows for that.
"""
import json
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

NAN, INF = float("nan"), float("inf")
SPECIAL = np.array([NAN, INF, -INF, 0.0, -0.0, 3e38, -3e38, 1.0, -1.0, 2.5, -0.4], np.float32)
FILE = pathlib.Path(__file__).resolve().parents[1] / "golden" / "special-values.json"


class Cases:
    """Networks in the making."""

    def __init__(self):
        self.cases = []
        self.rng = np.random.default_rng(20)

    def random(self, *shape):
        """Ordinary numbers of few digits, none so small that it could go missing."""
        return (self.rng.integers(4, 17, shape) / 16 * self.rng.choice([-1, 1], shape)).astype(np.float32)

    def with_special(self, shape, *specials):
        """Ordinary numbers, and others at places of their own: pairs of an index and an element."""
        x = self.random(*shape)
        for index, element in specials:
            x[index] = element
        return x

    def add(self, name, nodes, inputs, weights=None, opset=17, outputs=("y",), expected=None):
        """A network of nodes (operator, inputs, outputs, attributes) with what it is given, by name; onnxruntime says what comes
        of it, unless that is stated."""
        nodes = [
            helper.make_node(op.split("::")[-1], ins, outs, domain="com.microsoft" if "::" in op else "", **attributes)
            for op, ins, outs, attributes in nodes
        ]
        ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape) for n, x in inputs.items()]
        constants = [numpy_helper.from_array(np.asarray(w), n) for n, w in (weights or {}).items()]
        results = [onnx.ValueInfoProto(name=n) for n in outputs]
        graph = helper.make_graph(nodes, "g", ports, results, constants)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run(list(outputs), inputs)
        for port, y in zip(results, found):  # what a file has to say of its outputs
            port.CopyFrom(helper.make_tensor_value_info(port.name, helper.np_dtype_to_tensor_dtype(y.dtype), y.shape))
        del graph.output[:]
        graph.output.extend(results)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        if expected is not None:
            found = [np.asarray(expected, np.float32).reshape(found[0].shape)]
        self.cases.append(
            {
                "name": name,
                "model": model.SerializeToString().hex(),
                "inputs": {n: tensor(x) for n, x in inputs.items()},
                "outputs": {n: tensor(y) for n, y in zip(outputs, found)},
            }
        )

    def one(self, op, inputs, weights=None, name=None, opset=17, outputs=("y",), expected=None, **attributes):
        """A network of one operator, whose inputs have the names that begin the alphabet at `a`."""
        given = {n: np.asarray(x, np.float32) for n, x in zip("abcdefg", inputs)}
        constants = {f"w{i}": w for i, w in enumerate(weights or [])}
        names = [n for n in given] + list(constants)
        self.add(name or op, [(op, names, list(outputs), attributes)], given, constants, opset, outputs, expected)


def tensor(x):
    """Shape and elements, as one text: JSON has no numbers for some of them."""
    return {"shape": list(x.shape), "elements": " ".join(f"{v:.6g}" for v in x.astype(np.float32).ravel())}


UNARY = {
    "Relu": {}, "LeakyRelu": {"alpha": 0.1}, "Sigmoid": {}, "Tanh": {}, "HardSigmoid": {}, "HardSwish": {}, "Elu": {"alpha": 1.5},
    "Selu": {}, "Celu": {"alpha": 0.7}, "Sqrt": {}, "Erf": {}, "Exp": {}, "Log": {}, "Abs": {}, "Floor": {}, "Ceil": {}, "Round": {},
    "Sign": {}, "Softplus": {}, "Softsign": {}, "ThresholdedRelu": {"alpha": 0.5}, "Shrink": {"lambd": 0.6, "bias": 0.1}, "Sin": {},
    "Cos": {}, "Tan": {}, "Asin": {}, "Acos": {}, "Atan": {}, "Sinh": {}, "Cosh": {}, "Asinh": {}, "Acosh": {}, "Atanh": {},
    "Neg": {}, "Reciprocal": {}, "Identity": {},
}  # fmt: skip
LATER = {"Mish": (18, {}), "Gelu": (20, {}), "Gelu tanh": (20, {"approximate": "tanh"}), "Swish": (24, {"alpha": 1.3})}


def elementwise(c):
    x = np.resize(SPECIAL, 71).reshape(1, 71)
    near = np.where(np.abs(x) == np.float32(3e38), 3 * np.sign(x), x)
    for op, attributes in UNARY.items():
        # Periods are shorter than the distance of such neighbours; a Celu is divided by its alpha first, which may be beyond the range.
        c.one(op, [near if op in ["Sin", "Cos", "Tan", "Celu"] else x], **attributes)
    for op, (opset, attributes) in LATER.items():
        c.one(op.split()[0], [x], name=op, opset=opset, **attributes)
    for low, high in [(-1, 1), (0, 6), (1, -1), (-INF, 2), (NAN, 2)]:
        c.one("Clip", [x], [np.float32(low), np.float32(high)], name=f"Clip {low} {high}")
    for op in ["IsNaN", "IsInf"]:
        c.add(op, [(op, ["a"], ["z"], {}), ("Cast", ["z"], ["y"], {"to": TensorProto.FLOAT})], {"a": x})
    a, b = np.repeat(SPECIAL, len(SPECIAL))[None], np.tile(SPECIAL, len(SPECIAL))[None]
    for op in ["Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Max", "Min", "Mod", "Sum", "Mean"]:
        attributes = {"fmod": 1} if op == "Mod" else {}
        c.one(op, [a, b], name=op, **attributes)
        if op in ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"]:
            c.one(op, [x], [np.float32([[0.5]])], name=f"{op} with a constant")
            relu = ("Relu", ["z"], ["y"], {})
            c.add(f"{op}, Relu", [(op, ["a", "b"], ["z"], {}), relu], {"a": a, "b": b})
    c.one("Max", [a, b, b[:, ::-1].copy()], name="Max of three")
    c.one("Min", [a, b, b[:, ::-1].copy()], name="Min of three")
    for op in ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]:
        c.add(op, [(op, ["a", "b"], ["z"], {}), ("Cast", ["z"], ["y"], {"to": TensorProto.FLOAT})], {"a": a, "b": b})
    for op in ["And", "Or", "Xor"]:
        cast = [("Cast", [n], [f"{n}b"], {"to": TensorProto.BOOL}) for n in "ab"]
        c.add(op, [*cast, (op, ["ab", "bb"], ["z"], {}), ("Cast", ["z"], ["y"], {"to": TensorProto.FLOAT})], {"a": a, "b": b})
    cast = ("Cast", ["z"], ["zb"], {"to": TensorProto.BOOL})
    c.add("Where", [("Cast", ["a"], ["ab"], {"to": TensorProto.BOOL}), ("Where", ["ab", "b", "c"], ["y"], {})],
          {"a": a, "b": b, "c": b[:, ::-1].copy()})  # fmt: skip
    gate = ("Sigmoid", ["b"], ["z"], {})
    c.add("Mul by a gate of each channel", [gate, ("Mul", ["a", "z"], ["y"], {})],
          {"a": np.resize(SPECIAL, 2 * 3 * 5 * 7).reshape(2, 3, 5, 7), "b": np.resize(SPECIAL, 6).reshape(2, 3, 1, 1)})  # fmt: skip


def convolutions(c):
    """Pixels that are NaN or infinite reach the windows that see them, and no others."""
    spots = [((0, 0, 2, 3), NAN), ((0, 1, 5, 8), INF), ((0, 2, 7, 1), -INF), ((0, 0, 8, 10), NAN)]
    for name, filters, channels, group, kernel, extra in [
        ("1x1", 9, 5, 1, 1, {}),
        ("3x3", 9, 5, 1, 3, {"pads": [1] * 4}),
        ("5x5", 3, 4, 1, 5, {"pads": [2] * 4}),
        ("3x3 strides", 5, 5, 1, 3, {"strides": [2, 2], "pads": [0, 1, 2, 1]}),
        ("3x3 dilations", 5, 5, 1, 3, {"dilations": [2, 2], "pads": [2] * 4}),
        ("3x3 groups", 6, 8, 2, 3, {"pads": [1] * 4}),
        ("depthwise", 9, 9, 9, 3, {"pads": [1] * 4}),
        ("depthwise strides", 9, 9, 9, 5, {"strides": [2, 2], "pads": [2] * 4}),
        ("two filters for each channel", 10, 5, 5, 3, {"pads": [1] * 4}),
    ]:
        x = c.with_special((1, channels, 9, 11), *spots)
        weights = {"w": c.random(filters, channels // group, kernel, kernel), "bias": c.random(filters)}
        conv = ("Conv", ["a", "w", "bias"], ["z"], {"group": group, **extra})
        c.add(f"Conv {name}", [(*conv[:2], ["y"], conv[3])], {"a": x}, weights)
        for op, attributes in [("Relu", {}), ("LeakyRelu", {"alpha": 0.2}), ("HardSwish", {})] if "strides" not in extra else []:
            c.add(f"Conv {name}, {op}", [conv, (op, ["z"], ["y"], attributes)], {"a": x}, weights)
        bounds = {"low": np.float32(0), "high": np.float32(6)}
        c.add(f"Conv {name}, Clip", [conv, ("Clip", ["z", "low", "high"], ["y"], {})], {"a": x}, {**weights, **bounds})
    x = c.with_special((1, 5, 9, 11), *spots)
    weights = {"w": c.random(5, 5, 3, 3), "bias": c.random(5)}
    conv = ("Conv", ["a", "w", "bias"], ["z"], {"pads": [1] * 4})
    c.add("Conv, Add, Relu", [conv, ("Add", ["z", "a"], ["r"], {}), ("Relu", ["r"], ["y"], {})], {"a": x}, weights)
    for name, shape, extra in [
        ("plain", (5, 4, 3, 3), {"pads": [1] * 4}),
        ("strides", (5, 4, 2, 2), {"strides": [2, 2]}),
        ("overlapping strides", (5, 4, 3, 3), {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}),
    ]:
        c.one("ConvTranspose", [x[:, :5]], [c.random(*shape), c.random(4)], name=f"ConvTranspose {name}", **extra)
    line = c.with_special((2, 3, 19), ((0, 1, 4), NAN), ((1, 0, 9), INF), ((1, 2, 9), -INF))
    c.one("Conv", [line], [c.random(4, 3, 3), c.random(4)], name="Conv over lines", pads=[1, 1])
    volume = c.with_special((1, 2, 4, 5, 6), ((0, 0, 1, 2, 3), NAN), ((0, 1, 3, 4, 5), INF))
    c.one("Conv", [volume], [c.random(3, 2, 3, 3, 3), c.random(3)], name="Conv over volumes", pads=[1] * 6)
    zeros = {"w": np.zeros((4, 5, 3, 3), np.float32), "bias": c.random(4)}
    zeros["w"][1] = c.random(5, 3, 3)
    c.add("Conv whose filters are zero but one", [("Conv", ["a", "w", "bias"], ["y"], {"pads": [1] * 4})], {"a": x}, zeros)


def products(c):
    x = c.with_special((7, 37), ((1, 2), NAN), ((3, 4), INF), ((5, 0), -INF), ((6, 1), INF), ((6, 2), -INF))
    w, bias = c.random(37, 19), c.random(19)
    c.one("Gemm", [x], [w, bias])
    c.add("Gemm, Relu", [("Gemm", ["a", "w", "b"], ["z"], {}), ("Relu", ["z"], ["y"], {})], {"a": x}, {"w": w, "b": bias})
    c.one("MatMul", [x], [w], name="MatMul with weights")
    c.one("MatMul", [x, c.with_special((37, 19), ((0, 3), NAN), ((2, 5), INF))])
    c.one("Einsum", [x, c.random(37, 19)], equation="ij,jk->ik")
    zero = np.zeros((37, 19), np.float32)
    c.one("MatMul", [x, zero], name="MatMul with computed zeros")


def windows(values, kernel, strides, pads, dilations=(1, 1)):
    """What each window sees: [N, C, OH, OW, taps]; what lies outside is minus infinity."""
    x = np.pad(values, [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])], constant_values=-INF)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    out = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, strides)]
    rows = np.arange(out[0])[:, None] * strides[0] + np.arange(kernel[0]) * dilations[0]
    columns = np.arange(out[1])[:, None] * strides[1] + np.arange(kernel[1]) * dilations[1]
    seen = x[:, :, rows][:, :, :, :, columns]  # N C OH KH OW KW
    return np.moveaxis(seen, 3, 4).reshape(*x.shape[:2], *out, -1)


def pools(c):
    for width in [8, 19]:
        x = c.with_special((1, 3, 8, width), *[((0, i, i, i + 2), v) for i, v in enumerate([NAN, INF, -INF])],
                           ((0, 0, 7, width - 1), NAN), ((0, 1, 0, 0), NAN))  # fmt: skip
        x[0, 2, 3:7, 1:6] = NAN
        x[0, 1, 3:7, 1:6] = -INF
        for kernel, stride, pad, dilation in [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 1), (2, 1, 0, 1), (3, 3, 0, 1), (5, 1, 2, 1), (2, 1, 0, 2)]:
            shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
            seen = windows(x, [kernel] * 2, [stride] * 2, [pad] * 4, [dilation] * 2)
            name = f"{kernel}x{kernel}, strides {stride}, dilations {dilation}, {width} columns"
            c.one("MaxPool", [x], name=f"MaxPool {name}", expected=seen.max(-1), dilations=[dilation] * 2, **shape)
            if dilation == 1:
                c.one("AveragePool", [x], name=f"AveragePool {name}", **shape)
                c.one("LpPool", [x], name=f"LpPool {name}", **shape)
        c.one("GlobalMaxPool", [x], expected=x.max((2, 3)), name=f"GlobalMaxPool, {width} columns")
        c.one("GlobalAveragePool", [x], name=f"GlobalAveragePool, {width} columns")
        pool = ("MaxPool", ["a"], ["z"], {"kernel_shape": [2, 2], "strides": [2, 2]})
        seen = windows(x, [2, 2], [2, 2], [0] * 4).max(-1)
        c.add(f"MaxPool, Relu, {width} columns", [pool, ("Relu", ["z"], ["y"], {})], {"a": x}, expected=np.maximum(seen, 0))
    line = c.with_special((1, 3, 21), ((0, 0, 4), NAN), ((0, 1, 5), -INF))
    c.one("MaxPool", [line], name="MaxPool over lines", kernel_shape=[2], strides=[2], expected=line[..., :20].reshape(1, 3, 10, 2).max(-1))


def axes(c):
    x = c.with_special((3, 5, 18), ((0, 0, 1), NAN), ((0, 3, 2), INF), ((1, 1, 3), -INF), ((1, 4, 5), INF), ((1, 2, 5), -INF),
                       ((2, 4, 17), NAN), ((2, 0, 0), NAN))  # fmt: skip
    x[1, :, 7] = -INF
    x[1, :, 8] = NAN
    for axis in [[1], [2], [0, 2]]:
        at = tuple(axis)
        known = {"ReduceMax": x.max(at, keepdims=True), "ReduceMin": x.min(at, keepdims=True)}
        for op in ["Max", "Min", "Sum", "Mean", "Prod", "L1", "L2", "LogSumExp", "SumSquare"]:
            c.one(f"Reduce{op}", [x], opset=11, axes=axis, name=f"Reduce{op} {axis}", expected=known.get(f"Reduce{op}"))
    for axis in [1, 2]:
        for op in ["Softmax", "LogSoftmax"]:
            c.one(op, [x], axis=axis, name=f"{op} {axis}")
        for op in ["ArgMax", "ArgMin"]:
            for last in [0, 1]:
                cast = ("Cast", ["z"], ["y"], {"to": TensorProto.FLOAT})
                arg = (op, ["a"], ["z"], {"axis": axis, "select_last_index": last})
                c.add(f"{op} {axis}{', last' if last else ''}", [arg, cast], {"a": x})
        for largest in [0, 1]:
            cast = ("Cast", ["z"], ["positions"], {"to": TensorProto.FLOAT})
            top = ("TopK", ["a", "k"], ["y", "z"], {"axis": axis, "largest": largest})
            c.add(f"TopK {axis}, largest {largest}", [top, cast], {"a": x}, {"k": np.int64([3])}, outputs=("y", "positions"))
            # What is computed is NaN of the other sign.
            nan = ("Sub", ["a", "a"], ["d"], {})
            top = ("TopK", ["d", "k"], ["y", "z"], {"axis": axis, "largest": largest})
            c.add(f"TopK of computed NaN {axis}, largest {largest}", [nan, top, cast], {"a": x}, {"k": np.int64([3])},
                  outputs=("y", "positions"))  # fmt: skip
        # A product with a triangle of ones: NaN reaches the whole line, and an infinity makes NaN of what comes before it.
        terms = np.moveaxis(x, axis, -1)[..., None, :] * np.tri(x.shape[axis], dtype=np.float32)
        c.one("CumSum", [x], [np.int64(axis)], name=f"CumSum {axis}", expected=np.moveaxis(terms.sum(-1), -1, axis))
        c.one("LpNormalization", [x], axis=axis, p=2, name=f"LpNormalization {axis}")
        # 1 at the index of ArgMax; onnxruntime has none where the first element is NaN.
        first = np.moveaxis(x, axis, 0)[0]
        found = np.where(np.isnan(first), 0, np.where(np.isnan(x), -INF, x).argmax(axis))
        hard = np.arange(x.shape[axis]) == found[..., None]
        c.one("Hardmax", [x], axis=axis, name=f"Hardmax {axis}", expected=np.moveaxis(hard, -1, axis))


def normalisations(c):
    x = c.with_special((2, 6, 4, 5), ((0, 1, 0, 0), NAN), ((0, 1, 0, 1), INF), ((1, 3, 2, 2), -INF), ((1, 5, 3, 4), NAN))
    six = [c.random(6) for _ in range(3)] + [np.abs(c.random(6))]
    c.one("BatchNormalization", [x], six)
    c.one("InstanceNormalization", [x], six[:2])
    c.one("GroupNormalization", [x], six[:2], opset=21, num_groups=3)
    c.one("LayerNormalization", [x], [c.random(5), c.random(5)], axis=3)
    c.one("RMSNormalization", [x], [c.random(5)], axis=3, opset=23)
    c.one("MeanVarianceNormalization", [x])
    # The sum of squares of each window by itself: what one window has seen does not reach the next.
    squares = np.stack([(x[:, max(i - 1, 0):i + 2] ** 2).sum(1) for i in range(6)], 1)
    for beta in [0.75, 0.5, 0.6]:
        expected = x / (1 + 0.3 / 3 * squares) ** np.float32(beta)
        c.one("LRN", [x], size=3, alpha=0.3, beta=beta, bias=1.0, name=f"LRN {beta}", expected=expected)


def spread_twice(x, shares):
    """Height and width doubled, by a linear Resize of half pixels: outputs 2i and 2i+1 mix i with its neighbours by these shares."""
    for axis in [2, 3]:
        x = np.moveaxis(x, axis, -1)
        before, after = np.concatenate([x[..., :1], x[..., :-1]], -1), np.concatenate([x[..., 1:], x[..., -1:]], -1)
        even, odd = shares[0] * before + shares[1] * x, shares[2] * x + shares[3] * after
        x = np.moveaxis(np.stack([even, odd], -1).reshape(*x.shape[:-1], -1), -1, axis)
    return x


def places(c):
    """Elements that move; those that are mixed with others are NaN where one of these is, be its share 0."""
    x = c.with_special((1, 2, 6, 7), ((0, 0, 2, 3), NAN), ((0, 1, 4, 1), INF), ((0, 1, 0, 6), -INF))
    c.one("Transpose", [x], perm=[0, 2, 3, 1])
    c.one("Concat", [x, x[:, :1]], axis=1)
    c.one("Pad", [x], [np.int64([0, 0, 1, 2, 0, 0, 0, 1])], name="Pad constant")
    c.one("Pad", [x], [np.int64([0, 0, 1, 2, 0, 0, 0, 1]), np.float32(NAN)], name="Pad NaN")
    for mode in ["reflect", "edge"]:
        c.one("Pad", [x], [np.int64([0, 0, 1, 2, 0, 0, 0, 1])], mode=mode, name=f"Pad {mode}")
    c.one("Slice", [x], [np.int64([1]), np.int64([5]), np.int64([2])])
    c.one("Gather", [x], [np.int64([3, 2])], axis=2)
    c.one("DepthToSpace", [np.concatenate([x, x], 1)], blocksize=2)
    c.one("SpaceToDepth", [x[:, :, :, :6].copy()], blocksize=2)
    c.one("Expand", [x[:, :, :1]], [np.int64([1, 2, 3, 7])])
    c.one("Tile", [x], [np.int64([1, 2, 1, 2])])
    c.one("Trilu", [x], upper=1)
    c.one("Resize", [x], [np.float32([]), np.float32([1, 1, 2, 3])], mode="nearest", name="Resize nearest")
    # onnxruntime multiplies neighbours whose share is 0, and those beyond the border one by one: here they leave no trace.
    inner = c.with_special((1, 2, 6, 7), ((0, 0, 2, 3), NAN), ((0, 1, 3, 4), INF))
    for mode, taps in [("linear", [0.25, 0.75, 0.75, 0.25]), ("cubic", None)]:
        known = spread_twice(inner, taps) if taps else None
        c.one("Resize", [inner], [np.float32([]), np.float32([1, 1, 2, 2])], mode=mode, name=f"Resize {mode}", expected=known)
    grid = c.rng.uniform(-1.1, 1.1, (1, 4, 5, 2)).astype(np.float32)
    for mode in ["linear", "nearest", "cubic"]:
        for padding in ["zeros", "border"]:
            c.one("GridSample", [x, grid], opset=20, mode=mode, padding_mode=padding, name=f"GridSample {mode} {padding}")
    rois = np.float32([[0, 0, 5, 5], [1, 2, 4, 3]])
    # The largest weighted neighbour of all samples: onnxruntime's is NaN if the last one is, and a weight of 0 makes NaN of infinities.
    for mode, pixels in [("avg", x), ("max", np.where(np.isfinite(x), x, np.float32(0.5)))]:
        sizes = {"output_height": 2, "output_width": 3, "sampling_ratio": 2}
        c.one("RoiAlign", [pixels], [rois, np.int64([0, 0])], mode=mode, name=f"RoiAlign {mode}", **sizes)
    updates = np.float32([NAN, 1, INF, -INF, NAN, 2]).reshape(1, 6)
    line = np.float32([NAN, NAN, 3, 4, 5, 6, 7]).reshape(1, 7)
    known = {"max": [NAN, NAN, INF, 4, NAN, 6, 7], "min": [NAN, NAN, 3, -INF, NAN, 6, 7]}
    for reduction in ["none", "add", "mul", "max", "min"]:
        c.add(f"ScatterElements {reduction}", [("ScatterElements", ["a", "i", "b"], ["y"], {"axis": 1, "reduction": reduction})],
              {"a": line, "b": updates}, {"i": np.int64([[0, 1, 2, 3, 4, 4]])}, opset=18, expected=known.get(reduction))  # fmt: skip


def recurrent(c):
    x = c.with_special((4, 2, 3), ((1, 0, 1), NAN), ((2, 1, 0), INF))
    # A Relu of NaN is NaN here, too; onnxruntime's is 0 in a layer.
    w, r, bias = c.random(1, 5, 3), c.random(1, 5, 5), c.random(1, 10)
    state, states = np.zeros((2, 5), np.float32), []
    for step in x:
        state = np.maximum(step @ w[0].T + state @ r[0].T + bias[0, :5] + bias[0, 5:], 0)
        states.append(state)
    c.one("RNN", [x], [w, r, bias], name="RNN Relu", expected=np.stack(states)[:, None], hidden_size=5, activations=["Relu"])
    for op, gates in [("RNN", 1), ("GRU", 3), ("LSTM", 4)]:
        given = x
        if op != "RNN":
            # Gates of NaN are numbers in onnxruntime.
            given = np.where(np.isnan(x), np.float32(0.5), x)
        weights = [c.random(1, gates * 5, 3), c.random(1, gates * 5, 5), c.random(1, gates * 10)]
        c.one(op, [given], weights, hidden_size=5)


def quantised(c):
    x = np.resize(SPECIAL, 71).reshape(1, 71)
    scale, zero = np.float32(0.1), np.uint8(128)
    steps = [("QuantizeLinear", ["a", "s", "z"], ["q"], {}), ("DequantizeLinear", ["q", "s", "z"], ["y"], {})]
    # NaN stays NaN, where onnxruntime makes the lowest number of it.
    known = np.where(np.isnan(x), NAN, np.clip(np.rint(x / scale), -128, 127) * scale)
    c.add("QuantizeLinear, DequantizeLinear", steps, {"a": x}, {"s": scale, "z": zero}, expected=known)


def main():
    np.seterr(all="ignore")
    c = Cases()
    for family in [elementwise, convolutions, products, pools, axes, normalisations, places, recurrent, quantised]:
        family(c)
    text = ",\n".join(json.dumps(case) for case in c.cases)
    FILE.write_text(f'{{"onnxruntime": "{onnxruntime.__version__}", "cases": [\n{text}\n]}}\n')
    print(f"{FILE}: {len(c.cases)} cases")


if __name__ == "__main__":
    main()

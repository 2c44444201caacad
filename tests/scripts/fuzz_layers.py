"""Layers of all kinds for the random graphs of fuzz_onnxruntime.py: each takes a value with its channels and its size, and yields another.

What jumps (comparisons, rounding, the place of the largest element) is computed of the graph's input alone: behind layers whose sums are
rounded differently, it would tell how they are rounded, and not whether they are right.
"""
import numpy as np
from onnx import TensorProto, numpy_helper

FUNCTIONS = {
    "Abs": ("", 9), "Acos": ("inside", 9), "Acosh": ("beyond", 9), "Asin": ("inside", 9), "Asinh": ("", 9), "Atan": ("", 9),
    "Atanh": ("inside", 9), "Celu": ("", 12), "Cos": ("", 9), "Cosh": ("inside", 9), "Elu": ("", 9), "Erf": ("", 9), "Exp": ("inside", 9),
    "Gelu": ("", 20), "HardSigmoid": ("", 9), "HardSwish": ("", 14), "LeakyRelu": ("", 9), "Log": ("above", 9), "Mish": ("", 18),
    "Neg": ("", 9), "Reciprocal": ("above", 9), "Selu": ("", 9), "Sigmoid": ("", 9), "Sin": ("", 9), "Sinh": ("inside", 9),
    "Softplus": ("", 9), "Softsign": ("", 9), "Sqrt": ("above", 9), "Tan": ("inside", 9), "Tanh": ("", 9),
}  # fmt: skip
"""By name: what it is applied to (elements above 0, above 1, or inside of -1 to 1), and the opset that has it for all of these graphs."""

REDUCTIONS = {
    "ReduceL1": "", "ReduceL2": "above", "ReduceLogSum": "above", "ReduceLogSumExp": "", "ReduceMax": "", "ReduceMean": "",
    "ReduceMin": "", "ReduceProd": "inside", "ReduceSum": "", "ReduceSumSquare": "",
}  # fmt: skip


class Layers:
    """For a class that has `rng`, `opset`, `fixed`, `channels`, `size` (of the input), `add`, `weight`, `stored`, `name`, `mask` and `bias`."""

    KINDS = """function reduction combination truth jumps moved picked scattered summed einsum normalised line larger shape_of_groups
        rows_of_half size_of_another grid flattened repeated sequence regions""".split()

    def layer(self, x, c, size):
        """One of them, or x itself where the one that was chosen does not fit."""
        return getattr(self, str(self.rng.choice(self.KINDS)))(x, c, size) or (x, c, size)

    # What they are made of.

    def integers(self, *elements):
        return self.stored(numpy_helper.from_array(np.array(elements, np.int64), self.name("s")))

    def integer(self, element):
        return self.stored(numpy_helper.from_array(np.array(element, np.int64), self.name("s")))

    def chosen(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def exact(self, element):
        """A stored element in full precision."""
        return self.stored(numpy_helper.from_array(np.array(element, np.float32), self.name("k")))

    def over(self, op, x, axes, since, **attributes):
        """An operator whose axes are an input since an opset, and an attribute before."""
        if self.opset < since:
            return self.add(op, [x], axes=axes, **attributes)
        return self.add(op, [x, self.integers(*axes)], **attributes)

    def unsqueeze(self, x, *axes):
        return self.over("Unsqueeze", x, list(axes), 13)

    def squeeze(self, x, *axes):
        return self.over("Squeeze", x, list(axes), 13)

    def slice(self, x, axis, start, end, step=1):
        return self.add("Slice", [x, *(self.integers(n) for n in (start, end, axis, step))])

    def extent(self, x, axis):
        """The extent of an axis, as a list of one integer."""
        return self.add("Gather", [self.add("Shape", [x]), self.integers(axis)], axis=0)

    def raw(self, size):
        """One channel of the graph's input, if that has this size."""
        if tuple(size) != tuple(self.size):
            return None
        return self.add("Gather", ["x", self.integers(int(self.rng.integers(self.channels)))], axis=1)

    def inside(self, x):
        return self.add("Mul", [self.add("Tanh", [x]), self.exact(0.9)])

    def prepared(self, x, kind):
        if kind == "inside":
            return self.inside(x)
        if kind:
            return self.add("Add", [self.add("Abs", [x]), self.exact(0.5 if kind == "above" else 1.1)])
        return x

    # The layers.

    def function(self, x, c, size):
        names = [name for name, (_, since) in FUNCTIONS.items() if self.opset >= since]
        name = str(self.rng.choice(names))
        if self.rng.random() < 0.1:
            power = self.add("Pow", [self.prepared(x, "above"), self.exact(self.chosen(0.5, 1.5, -1.0))])
            return power, c, size
        return self.add(name, [self.prepared(x, FUNCTIONS[name][0])]), c, size

    def reduction(self, x, c, size):
        """Added to what it is a reduction of."""
        name = str(self.rng.choice(list(REDUCTIONS)))
        axes = [[1], [2], [3], [2, 3], [1, 2], [1, 2, 3]][int(self.rng.integers(6))]
        keep = int(self.rng.integers(2))
        prepared = self.inside(x) if name in ("ReduceSumSquare", "ReduceL1") else self.prepared(x, REDUCTIONS[name])
        y = self.over(name, prepared, axes, 13 if name == "ReduceSum" else 18, keepdims=keep)
        y = self.add("Mul", [y if keep else self.unsqueeze(y, *axes), self.exact(0.1)])
        return self.add("Add", [x, y]), c, size

    def combination(self, x, c, size):
        other = self.add("Sin", [x]) if self.rng.random() < 0.3 else self.function(x, c, size)[0]
        op = str(self.rng.choice(["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum", "PRelu"]))
        if op == "PRelu":
            return self.add(op, [x, self.weight(self.rng.normal(0, 1, (c, 1, 1)))]), c, size
        if op in ("Mul", "Div"):
            other = self.add("Sigmoid", [other])
            other = self.add("Add", [other, self.exact(0.5)])
        parts = [x, other] + ([x] if op in ("Mean", "Sum", "Max") and self.rng.random() < 0.5 else [])
        return self.add(op, parts), c, size

    def condition(self, size):
        """Truth about the graph's input, of one channel."""
        raw = self.raw(size)
        if raw is None:
            return None
        names = ["Less", "Greater"] + (["LessOrEqual", "GreaterOrEqual"] if self.opset >= 16 else [])
        compare = lambda: self.add(str(self.rng.choice(names)), [raw, self.exact(self.rng.normal())])
        kind = self.rng.integers(5)
        if kind == 0:
            return self.add("Not", [compare()])
        if kind == 1:
            whole = self.add("Cast", [raw], to=TensorProto.INT32)
            return self.add("Equal", [whole, self.stored(numpy_helper.from_array(np.array([0], np.int32), self.name("s")))])
        if kind == 2 and self.opset >= 10:
            return self.add("Not", [self.add(str(self.rng.choice(["IsNaN", "IsInf"])), [raw])])
        return self.add(str(self.rng.choice(["And", "Or", "Xor"])), [compare(), compare()])

    def truth(self, x, c, size):
        condition = self.condition(size)
        if condition is None:
            return None
        if self.rng.random() < 0.4:
            return self.add("Mul", [x, self.add("Cast", [condition], to=TensorProto.FLOAT)]), c, size
        other = self.function(x, c, size)[0] if self.rng.random() < 0.5 else self.exact(0.3)
        return self.add("Where", [condition, x, other]), c, size

    def jumps(self, x, c, size):
        """What is no continuous function, of the graph's input; added to x."""
        raw = self.raw(size)
        if raw is None:
            return None
        axis = int(self.chosen(2, 3))
        quantised = lambda op, *more: self.add(op, [raw, self.exact(0.125), self.stored(numpy_helper.from_array(np.array(3, np.uint8), self.name("s"))), *more])
        kinds = {
            "Floor": lambda: self.add("Floor", [raw]),
            "Ceil": lambda: self.add("Ceil", [raw]),
            "Round": lambda: self.add("Round", [raw]),
            "Sign": lambda: self.add("Sign", [raw]),
            "Mod": lambda: self.add("Mod", [raw, self.exact(0.7)], fmod=1),
            "ThresholdedRelu": lambda: self.add("ThresholdedRelu", [raw], alpha=0.4),
            "Shrink": lambda: self.add("Shrink", [raw], lambd=0.4, bias=0.1),
            "Cast": lambda: self.add("Cast", [self.add("Cast", [raw], to=int(self.chosen(TensorProto.INT32, TensorProto.INT64)))], to=TensorProto.FLOAT),
            "Hardmax": lambda: self.add("Hardmax", [raw], axis=3),
            "ArgMax": lambda: self.add("Cast", [self.add(self.chosen("ArgMax", "ArgMin"), [raw], axis=axis, keepdims=1)], to=TensorProto.FLOAT),
            "QuantizeLinear": lambda: self.add("DequantizeLinear", [quantised("QuantizeLinear"), self.exact(0.125), self.stored(numpy_helper.from_array(np.array(3, np.uint8), self.name("s")))]),
            "TopK": lambda: self.over_k(raw, axis),
            "OneHot": lambda: self.marked(raw, size),
        }
        since = {"Mod": 10, "Round": 11, "QuantizeLinear": 10, "TopK": 11, "Shrink": 9, "ThresholdedRelu": 10, "Hardmax": 13}
        names = [name for name in kinds if self.opset >= since.get(name, 9)]
        y = kinds[str(self.rng.choice(names))]()
        return self.add("Add", [x, self.add("Mul", [y, self.exact(0.2)])]), c, size

    def over_k(self, raw, axis):
        """The mean of the largest or smallest elements."""
        y = self.add("TopK", [raw, self.integers(int(self.rng.integers(1, 4)))], axis=axis, largest=int(self.rng.integers(2)))
        self.nodes[-1].output.append(f"{y}.places")
        if self.rng.random() < 0.5:
            y = self.add("Cast", [f"{y}.places"], to=TensorProto.FLOAT)
        return self.over("ReduceMean", y, [axis], 18, keepdims=1)

    def marked(self, raw, size):
        """Where the largest element of each column stands."""
        self.fixed = True
        place = self.add("ArgMax", [raw], axis=2, keepdims=0)
        values = self.stored(numpy_helper.from_array(np.array([-0.5, 1.0], np.float32), self.name("s")))
        return self.add("OneHot", [place, self.integer(int(size[0])), values], axis=2)

    def moved(self, x, c, size):
        """The same elements elsewhere."""
        kind = int(self.rng.integers(6))
        if kind == 0 and self.opset >= 10:
            axis = int(self.chosen(1, 2, 3))
            return self.slice(x, axis, -1, -(1 << 40), -1), c, size
        if kind == 1:
            return self.add("Gather", [x, self.integers(*(int(i) for i in self.rng.permutation(c)))], axis=1), c, size
        if kind == 2 and c > 1:
            first = int(self.rng.integers(1, c))
            parts = {"split": [first, c - first]} if self.opset < 13 else {}
            y = self.add("Split", [x] if self.opset < 13 else [x, self.integers(first, c - first)], axis=1, **parts)
            self.nodes[-1].output.append(f"{y}.rest")
            return self.add("Concat", [f"{y}.rest", y], axis=1), c, size
        if kind == 3 and c <= 8:
            return self.add("Tile", [x, self.integers(1, 2, 1, 1)]), 2 * c, size
        if kind == 4 and c <= 8 and all(n % 2 == 0 for n in size):
            self.fixed = True
            return self.add("SpaceToDepth", [x], blocksize=2), 4 * c, tuple(n // 2 for n in size)
        y = self.add("Transpose", [x], perm=[0, 1, 3, 2])
        return self.add("Transpose", [self.function(y, c, size)[0]], perm=[0, 1, 3, 2]), c, size

    def places(self, size):
        """Of each column of the graph's input, the row of the largest element: [N, 1, 1, W]."""
        raw = self.raw(size)
        return raw and self.add("ArgMax", [raw], axis=2, keepdims=1)

    def picked(self, x, c, size):
        """Elements at computed indices."""
        places = self.places(size)
        if places is None or self.opset < 13:
            return None
        kind = int(self.rng.integers(3))
        if kind == 0:
            places = self.add("Expand", [places, self.integers(1, c, 1, 1)])
            y = self.add("GatherElements", [x, places], axis=2)
        else:
            # A table of as many rows as the image; the last one serves those that come later.
            table = self.weight(self.rng.normal(0, 1, size[0] + 3))
            y = self.add("Gather", [table, places]) if kind == 1 else self.add("GatherND", [table, self.unsqueeze(places, 4)])
        return self.add("Add", [x, y]), c, size

    def scattered(self, x, c, size):
        """Elements brought to computed or stored indices."""
        if self.opset < 13:
            return None
        reduction = {"reduction": self.chosen("none", "add")} if self.opset >= 16 else {}
        places = self.places(size)
        if places is not None and self.rng.random() < 0.5:
            places = self.add("Expand", [places, self.integers(1, c, 1, 1)])
            updates = self.add("Neg", [self.add("GatherElements", [x, places], axis=2)])
            return self.add("ScatterElements", [x, places, updates], axis=2, **reduction), c, size
        # A row for all images, of the first one.
        channels = self.add("Transpose", [x], perm=[1, 0, 2, 3])
        row = self.add("Tanh", [self.add("Gather", [channels, self.integers(0)], axis=0)])
        at = self.stored(numpy_helper.from_array(np.array([[int(self.rng.integers(c))]], np.int64), self.name("s")))
        y = self.add("ScatterND", [channels, at, row], **reduction)
        return self.add("Transpose", [y], perm=[1, 0, 2, 3]), c, size

    def summed(self, x, c, size):
        if self.opset >= 14 and self.rng.random() < 0.4:
            upper, k = int(self.rng.integers(2)), self.integer(int(self.rng.integers(-2, 3)))
            return self.add("Trilu", [x, k], upper=upper), c, size
        if self.opset < 11:
            return None
        axis, flags = int(self.chosen(1, 2, 3)), [int(n) for n in self.rng.integers(2, size=2)]
        y = self.add("CumSum", [x, self.integer(axis)], exclusive=flags[0], reverse=flags[1])
        return self.add("Mul", [y, self.exact(0.2)]), c, size

    def einsum(self, x, c, size):
        if self.opset < 12:
            return None
        kind = int(self.rng.integers(4))
        if kind == 0:
            other = int(self.rng.integers(1, 8))
            w = self.weight(self.mask(self.rng.normal(0, 1 / np.sqrt(c), (other, c))))
            return self.add("Einsum", [x, w], equation="nchw,dc->ndhw"), other, size
        if kind == 1:
            y = self.add("Einsum", [x, self.function(x, c, size)[0]], equation="nchw,nchw->nc")
            return self.add("Add", [x, self.unsqueeze(self.add("Mul", [y, self.exact(0.01)]), 2, 3)]), c, size
        if kind == 2:
            y = self.add("Einsum", [x], equation="nchw->nwc")
            y = self.add("Mul", [self.add("Transpose", [y], perm=[0, 2, 1]), self.exact(0.1)])
            return self.add("Add", [x, self.unsqueeze(y, 2)]), c, size
        shares = self.add("Softmax", [self.add("Einsum", [self.inside(x), self.inside(x)], equation="nchw,ndhw->ncd")], axis=2)
        return self.add("Einsum", [shares, x], equation="ncd,ndhw->nchw"), c, size

    def normalised(self, x, c, size):
        # With some of the input in it: where all is alike, what is left is rounding, blown up.
        raw = self.raw(size)
        if raw is None:
            return None
        x = self.add("Add", [self.inside(x), raw])
        kinds = ["InstanceNormalization", "LpNormalization", "MeanVarianceNormalization", "Softmax", "LogSoftmax"]
        kinds += ["LayerNormalization"] if self.opset >= 17 else []
        kinds += ["GroupNormalization"] if self.opset >= 21 else []
        kind, parameters = str(self.rng.choice(kinds)), lambda n: [self.weight(self.rng.normal(1, 0.5, n)), self.weight(self.bias(n))]
        if kind == "InstanceNormalization":
            return self.add(kind, [x, *parameters(c)], epsilon=0.1), c, size
        if kind == "LpNormalization":
            return self.add(kind, [x], axis=int(self.chosen(1, 2, 3)), p=int(self.chosen(1, 2))), c, size
        if kind == "MeanVarianceNormalization":
            return self.add(kind, [x], axes=[0, 2, 3] if self.rng.random() < 0.5 else [2, 3]), c, size
        if kind == "GroupNormalization":
            groups = int(self.rng.choice([g for g in range(1, c + 1) if c % g == 0]))
            return self.add(kind, [x, *parameters(c)], num_groups=groups, epsilon=0.1), c, size
        if kind == "LayerNormalization":
            y = self.add("Transpose", [x], perm=[0, 2, 3, 1])
            y = self.add(kind, [y, *parameters(c)], axis=-1, epsilon=0.1)
            return self.add("Transpose", [y], perm=[0, 3, 1, 2]), c, size
        y = self.add(kind, [x], axis=int(self.chosen(1, 3)) if self.opset >= 13 else 3)
        return y, c, size

    def line(self, x, c, size):
        """Over the line of all positions, whose shape is computed from that of x."""
        shape = self.add("Shape", [x])
        line = self.add("Reshape", [x, self.integers(0, c, -1)])
        kind, length = int(self.rng.integers(3)), size[0] * size[1]
        if kind == 0:
            w = self.weight(self.mask(self.rng.normal(0, 1 / np.sqrt(c), (c, c, 3))))
            line = self.add("Conv", [line, w, self.weight(self.bias(c))], kernel_shape=[3], pads=[1, 1])
        elif kind == 1 and length > 3:
            line = self.add(self.chosen("MaxPool", "AveragePool"), [line], kernel_shape=[3], pads=[1, 1])
        else:
            line = self.add("LpPool", [line], kernel_shape=[1], p=int(self.chosen(1, 2)))
        return self.add("Reshape", [line, shape]), c, size

    def larger(self, x, c, size):
        if max(size) > 16:
            return None
        kind = int(self.rng.integers(4))
        double = tuple(2 * n for n in size)
        if kind == 0 and self.opset < 10:
            return self.add("Upsample", [x, self.exact([1, 1, 2, 2])], mode=self.chosen("nearest", "linear")), c, double
        if kind == 1:
            w = self.weight(self.mask(self.rng.normal(0, 1 / np.sqrt(c), (c, 2, 2, 2))))
            return self.add("ConvTranspose", [x, w, self.weight(self.bias(2))], strides=[2, 2], kernel_shape=[2, 2]), 2, double
        if kind == 2 and self.opset >= 16:
            w = self.weight(self.mask(self.rng.normal(0, 1 / np.sqrt(c), (2, c, 1, 1))))
            grid = self.add("Transpose", [self.add("Tanh", [self.add("Conv", [x, w])])], perm=[0, 2, 3, 1])
            mode = "bilinear" if self.opset < 20 else "linear"
            padding = self.chosen("zeros", "border", "reflection")
            return self.add("GridSample", [x, grid], mode=mode, padding_mode=padding, align_corners=1), c, size
        if self.opset >= 11:
            pads = [int(n) for n in self.rng.integers(0, 2, 4)]
            mode = str(self.rng.choice(["constant", "edge"] + (["reflect"] if min(size) > 2 else [])))
            y = self.add("Pad", [x, self.integers(0, 0, *pads[:2], 0, 0, *pads[2:])], mode=mode)
            return y, c, (size[0] + pads[0] + pads[2], size[1] + pads[1] + pads[3])
        return None

    # Shapes that are computed from shapes.

    def shape_of_groups(self, x, c, size):
        """A channel shuffle."""
        group = int(self.rng.choice([g for g in range(1, c + 1) if c % g == 0]))
        n, h, w = (self.extent(x, axis) for axis in (0, 2, 3))
        rest = self.add("Div", [self.extent(x, 1), self.integers(group)])
        y = self.add("Reshape", [x, self.add("Concat", [n, self.integers(group), rest, h, w], axis=0)])
        y = self.add("Transpose", [y], perm=[0, 2, 1, 3, 4])
        return self.add("Reshape", [y, self.add("Concat", [n, self.integers(-1), h, w], axis=0)]), c, size

    def rows_of_half(self, x, c, size):
        """From or to the middle."""
        if self.opset < 10 or min(size) < 2:
            return None
        axis = int(self.chosen(2, 3))
        middle = self.add("Div", [self.extent(x, axis), self.integers(2)])
        half = size[axis - 2] // 2
        behind = self.rng.random() < 0.5
        bounds = [middle, self.integers(1 << 40)] if behind else [self.integers(0), middle]
        y = self.add("Slice", [x, *bounds, self.integers(axis)])
        kept = size[axis - 2] - half if behind else half
        return y, c, tuple(kept if axis - 2 == i else n for i, n in enumerate(size))

    def size_of_another(self, x, c, size):
        """Made smaller, and as large as it was."""
        if self.opset < 13 or min(size) < 3:
            return None
        small = self.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
        first = self.slice(self.add("Shape", [small]), 0, 0, 2)
        if self.rng.random() < 0.3:
            # By float32, as some exporters do.
            rows = self.add("Cast", [self.add("Floor", [self.add("Mul", [self.add("Cast", [self.extent(x, 2)], to=TensorProto.FLOAT), self.exact([1.0])])])], to=TensorProto.INT64)
            sizes = self.add("Concat", [first, rows, self.extent(x, 3)], axis=0)
        else:
            sizes = self.add("Concat", [first, self.slice(self.add("Shape", [x]), 0, 2, 4)], axis=0)
        mode, empty = self.chosen("nearest", "linear"), self.exact([])
        y = self.add("Resize", [small, empty, empty, sizes], mode=mode, coordinate_transformation_mode=self.chosen("asymmetric", "half_pixel") if mode == "linear" else "asymmetric", nearest_mode="floor")
        return self.add("Add", [x, y]), c, size

    def grid(self, x, c, size):
        """The index of each row or column, added to it."""
        if self.opset < 11:
            return None
        axis = int(self.chosen(2, 3))
        count = self.squeeze(self.extent(x, axis), 0)
        places = self.add("Range", [self.integer(0), count, self.integer(1)])
        places = self.add("Mul", [self.add("Cast", [places], to=TensorProto.FLOAT), self.exact(0.05)])
        return self.add("Add", [x, self.unsqueeze(places, 1) if axis == 2 else places]), c, size

    def flattened(self, x, c, size):
        """Shares of all positions, whose count is a product."""
        n, h, w = (self.extent(x, axis) for axis in (0, 2, 3))
        y = self.add("Reshape", [x, self.add("Concat", [n, self.integers(c), self.add("Mul", [h, w])], axis=0)])
        y = self.add("Softmax", [y], axis=2)
        y = self.add("Reshape", [y, self.add("Concat", [n, self.integers(-1), h, w], axis=0)])
        return self.add("Add", [x, y]), c, size

    def repeated(self, x, c, size):
        """A mean, expanded as PyTorch writes it, or elements that are all alike."""
        shape = self.add("Shape", [x])
        if self.rng.random() < 0.5:
            one = numpy_helper.from_array(np.array([0.25], np.float32))
            return self.add("Add", [x, self.add("ConstantOfShape", [shape], value=one)]), c, size
        mean = self.over("ReduceMean", x, [2, 3], 18, keepdims=1)
        wanted = self.add("Concat", [self.integers(-1, -1), self.slice(shape, 0, 2, 4) if self.opset >= 10 else self.add("Gather", [shape, self.integers(2, 3)])], axis=0)
        ones = self.add("ConstantOfShape", [self.integers(4)], value=numpy_helper.from_array(np.array([1], np.int64)))
        if self.opset < 11:
            return self.add("Sub", [x, self.add("Expand", [mean, shape])]), c, size
        wanted = self.add("Where", [self.add("Equal", [wanted, self.integers(-1)]), ones, wanted])
        return self.add("Sub", [x, self.add("Expand", [mean, wanted])]), c, size

    def sequence(self, x, c, size):
        """Positions first, as transformers have them: a layer and a norm of the last axis, and back to the shape of x."""
        shape = self.add("Shape", [x])
        y = self.add("Transpose", [self.add("Reshape", [x, self.integers(0, c, -1)])], perm=[0, 2, 1])
        w = self.weight(self.mask(self.rng.normal(0, 1 / np.sqrt(c), (c, c))))
        y = self.add("MatMul", [y, w])
        if self.opset >= 13 and self.rng.random() < 0.5:
            y = self.add("Sigmoid", [y])
        return self.add("Reshape", [self.add("Transpose", [y], perm=[0, 2, 1]), shape]), c, size

    def regions(self, x, c, size):
        """The mean of two regions of the first image, which is computed to be the first, added to all."""
        if self.opset < 10:
            return None
        corners = np.sort(self.rng.uniform(-1, max(size) + 1, (2, 2, 2)), axis=1)
        first = self.add("Sigmoid", [self.over("ReduceMean", x, [0, 1, 2, 3], 18, keepdims=0)])
        first = self.add("Floor", [self.add("Mul", [first, self.exact([0.5, 0.5])])])
        images = self.add("Cast", [first], to=TensorProto.INT64)
        coordinates = {"coordinate_transformation_mode": self.chosen("half_pixel", "output_half_pixel")} if self.opset >= 16 else {}
        y = self.add(
            "RoiAlign", [x, self.exact(corners.reshape(2, 4)), images], output_height=int(self.rng.integers(1, 4)), output_width=2,
            sampling_ratio=int(self.rng.integers(3)), spatial_scale=self.chosen(1.0, 0.5), mode=self.chosen("avg", "max"), **coordinates,
        )  # fmt: skip
        return self.add("Add", [x, self.over("ReduceMean", y, [0, 2, 3], 18, keepdims=1)]), c, size

#!/usr/bin/env python3
"""A reader and executor of .sslm files made from docs/sslm-format.md alone, to prove that the text suffices and that the runtime
computes what a file means.

    python tests/scripts/sslm_reference.py MODEL.sslm --input x.npy --output y.npz
    python tests/scripts/sslm_reference.py MODEL.sslm --input x.npy --compare [--ssl-run target/release/ssl-run]

A model of several inputs takes a .npz file with an array for each, by name; results are a .npz file with one for each output.

Every value is expanded to its logical shape, every layer is computed densely in float64 from weights scattered into the original
matrix, and the weights' checksum is checked too. R numbers in the code and in messages are the rules of the document; those about
shapes are checked with the shapes of the input at hand.

Needs numpy. Exit codes: 0 success, 1 a result of the runtime differs by more than 1e-4 of its largest magnitude (1 at least), 2 error.
"""
import argparse
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib
from types import SimpleNamespace as Record

import numpy as np

TOLERANCE = 1e-4
MAGIC = b"\x89SSLM\r\n\x1a"
MAJOR = 0
CHANNEL_LIMIT, WINDOW_LIMIT, ELEMENT_LIMIT, RANK_LIMIT = 1 << 28, 1 << 16, 1 << 40, 8


class Refused(Exception):
    """The file breaks a rule, or the input does not fit it."""


def require(holds, rule, what):
    if not holds:
        raise Refused(f"{rule}: {what}")


# Sections 2 and 3 of the document: container and primitive encodings.


class Cursor:
    """Reads primitives from the bytes of one section."""

    def __init__(self, name, data):
        self.name, self.data, self.at = name, data, 0

    def take(self, count):
        left = len(self.data) - self.at
        require(count <= left, "R12", f"section {self.name} at byte {self.at}: {count} bytes wanted, {left} left")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def u8(self):
        return self.number("B")

    def u32(self):
        return self.number("I")

    def u64(self):
        return self.number("Q")

    def i64(self):
        return self.number("q")

    def f32(self):
        return self.number("f")

    def pair(self):
        return self.u32(), self.u32()

    def flag(self):
        value = self.u8()
        require(value < 2, "section 3", f"section {self.name} at byte {self.at - 1}: bool {value}")
        return value == 1

    def string(self):
        length = self.u32()
        require(length <= 65536, "section 3", f"section {self.name} at byte {self.at}: string of {length} bytes")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as e:
            raise Refused(f"section 3: section {self.name} at byte {self.at}: {e}") from e

    def vec(self, item):
        return [item() for _ in range(self.u32())]

    def u32s(self):
        return np.frombuffer(self.take(4 * self.u32()), "<u4").astype(np.int64)

    def f32s(self):
        return np.frombuffer(self.take(4 * self.u32()), "<f4").astype(np.float64)

    def opt(self, item):
        return item() if self.flag() else None

    def choice(self, what, *codes):
        """Reads a code and then what the function at that index of `codes` reads."""
        code = self.u8()
        require(code < len(codes), "section 11", f"section {self.name}: unknown {what} {code}: needs a newer reader")
        return codes[code]()

    def extent(self, depth=0):
        """An integer, or an Expression."""
        constant = self.i64()
        if constant != -(1 << 63):
            return constant
        require(depth < 32, "R53", f"section {self.name} at byte {self.at}: expressions inside each other")
        operand = lambda: self.extent(depth + 1)
        of_two = lambda function: lambda: Factor(function, [operand(), operand()])

        def quotient(a, b):
            require(b != 0, "R52", f"section {self.name}: a quotient by 0")
            return a // b

        def scaled():
            a, factor = operand(), np.float32(self.f32())
            return Factor(lambda a: math.floor(np.float32(a) * factor), [a])

        constant = self.i64()
        factors = (lambda: Symbol(self.string()), of_two(quotient), of_two(min), of_two(max), scaled)
        terms = self.vec(lambda: (self.i64(), self.vec(lambda: self.choice("factor", *factors))))
        return Expression(constant, terms)

    def finish(self):
        left = len(self.data) - self.at
        require(left == 0, "R12", f"section {self.name}: {left} bytes after its records")


def cut(number):
    """Section 4: integers are cut off at 2^62."""
    return max(-(1 << 62), min(number, 1 << 62))


def at(extent, dims):
    """The integer that an extent is where symbolic dims have these values."""
    return extent if isinstance(extent, int) else extent.at(dims)


def symbols_in(extent):
    """The names of an extent's symbols, as often as they occur."""
    return [] if isinstance(extent, int) else extent.symbols()


class Symbol:
    """A symbolic dim of the inputs."""

    def __init__(self, name):
        self.name = name

    def at(self, dims):
        return dims[self.name]

    def symbols(self):
        return [self.name]


class Factor:
    """A function of extents."""

    def __init__(self, function, operands):
        self.function, self.operands = function, operands

    def at(self, dims):
        return cut(self.function(*(at(operand, dims) for operand in self.operands)))

    def symbols(self):
        return [name for operand in self.operands for name in symbols_in(operand)]


class Expression:
    """A sum of a constant and of terms, each a coefficient and factors."""

    def __init__(self, constant, terms):
        self.constant, self.terms = constant, terms

    def at(self, dims):
        return cut(self.constant + sum(c * math.prod(factor.at(dims) for factor in factors) for c, factors in self.terms))

    def symbols(self):
        return [name for _, factors in self.terms for factor in factors for name in factor.symbols()]


def extents_of(record):
    """All expressions within the attributes of an operator."""
    if isinstance(record, Expression):
        return [record]
    parts = record.__dict__.values() if isinstance(record, Record) else record if isinstance(record, (list, tuple)) else []
    return [extent for part in parts for extent in extents_of(part)]


def bound(record, dims):
    """The attributes of an operator, with integers in place of expressions."""
    if isinstance(record, Expression):
        return record.at(dims)
    if isinstance(record, Record):
        return Record(**{name: bound(part, dims) for name, part in record.__dict__.items()})
    return [bound(part, dims) for part in record] if isinstance(record, list) else record


def sections_of(data):
    """(offset, length, checksum) of each section by its tag."""
    require(data[:8] == MAGIC and len(data) >= 32, "R1", f"not a .sslm file: it starts with {data[:8]!r}")
    major, _minor, count, length, checksum, reserved = struct.unpack("<HHIQII", data[8:32])
    require(major == MAJOR, "R2", f"major version {major}, this reader's is {MAJOR}")
    require(length == len(data), "R3", f"{len(data)} bytes, its header says {length}")
    end = 32 + 32 * count
    require(count <= 64 and end <= len(data), "R4", f"{count} sections in {len(data)} bytes")
    require(zlib.crc32(data[:24] + data[28:end]) == checksum, "R5", "checksum of header and section table")
    require(reserved == 0, "R6", f"header: reserved is {reserved}")
    found = {}
    for i in range(count):
        tag, flags, offset, size, crc, reserved = struct.unpack("<4sIQQII", data[32 + 32 * i :][:32])
        align = 4096 if tag == b"WGTS" else 64
        expected = -(-end // align) * align
        require(offset == expected, "R7", f"section {tag}: offset {offset}, expected {expected}")
        require(offset + size <= len(data), "R7", f"section {tag}: ends at {offset + size} of {len(data)} bytes")
        require(reserved == 0, "R6", f"section {tag}: reserved is {reserved}")
        require(flags in (0, 1), "R8", f"section {tag}: flags {flags}")
        require(tag not in found, "R9", f"section {tag}: there are two")
        require(not any(data[end:offset]), "R10", f"section {tag}: bytes before it are not zero")
        known = tag in (b"GRPH", b"WGTS", b"OUTN", b"LABL", b"PREP", b"PROV", b"TYPE")
        require(known or flags == 0, "section 11", f"section {tag}: needs a newer reader")
        require(not known or zlib.crc32(data[offset : offset + size]) == crc, "R12", f"section {tag}: checksum")
        found[tag] = (offset, size)
        end = offset + size
    require(end == len(data), "R11", f"sections end at {end} of {len(data)} bytes")
    require(b"GRPH" in found and b"WGTS" in found, "R13", "GRPH or WGTS is missing")
    return found


# Section 4: records.


def read_graph(r):
    return Record(
        blobs=r.vec(lambda: Record(offset=r.u64(), length=r.u64())),
        values=r.vec(lambda: Record(name=r.string(), compaction=r.opt(lambda: read_compaction(r)))),
        inputs=r.vec(lambda: Record(value=r.u32(), dims=r.vec(lambda: r.choice("dim", r.u64, r.string)))),
        outputs=r.vec(r.u32),
        nodes=r.vec(lambda: Record(name=r.string(), inputs=r.vec(r.u32), output=r.u32(), op=read_operator(r))),
    )


def read_compaction(r):
    return Record(logical=r.u32(), kept=r.u32s(), constants=r.f32s())


def read_window(r):
    same = lambda lower: lambda: Record(same=True, lower=lower)
    explicit = lambda: Record(same=False, top=r.u32(), left=r.u32(), bottom=r.u32(), right=r.u32())
    return Record(
        kernel=r.pair(), strides=r.pair(), dilations=r.pair(),
        padding=r.choice("padding", explicit, same(False), same(True)),
    )


def read_columns(r):
    """The list, or None for all."""
    return r.choice("kept list", lambda: None, r.u32s)


def read_operator(r):
    def conv():
        return Record(
            group=r.u32(), channels=r.u32(), filters=r.u32(), window=read_window(r), columns=r.vec(lambda: read_columns(r)),
            weights=r.u32(), bias=r.u32(), taps=r.opt(r.u32),
        )

    def volume_conv():
        depth = Record(kernel=r.u32(), stride=r.u32(), dilation=r.u32(), before=r.u32(), after=r.u32())
        op = conv()
        op.depth = depth
        return op

    def gemm():
        return Record(features=r.u32(), rows=r.u32(), columns=read_columns(r), weights=r.u32(), bias=r.u32())

    def conv_transpose():
        op = conv()
        op.output_padding = r.pair()
        return op

    def function(what, *codes):
        """A choice of a name and as many f32 as its names say."""
        named = lambda name, *parameters: lambda: Record(name=name, parameters=[r.f32() for _ in parameters])
        return r.choice(what, *(named(*code.split()) for code in codes))

    scales = lambda: Record(factors=(r.f32(), r.f32()), extents=None)
    sizes = lambda: Record(factors=None, extents=r.pair())
    resize = lambda: Record(
        coordinates=function("coordinates", "HalfPixel", "PytorchHalfPixel", "Asymmetric", "AlignCorners").name,
        interpolation=function("interpolation", "Linear", "NearestPreferFloor", "NearestPreferCeil", "Floor", "Ceil").name,
        target=r.choice("target", scales, sizes),
    )
    axis_targets = (
        lambda: Record(extent=None, factor=r.f32(), scale=None),
        lambda: Record(extent=r.extent(), factor=None, scale=None),
        lambda: Record(extent=r.u32(), factor=None, scale=r.f32()),
    )
    crop = lambda: Record(name="TfCropAndResize", regions=r.vec(lambda: (r.f32(), r.f32())), outside=r.f32())
    named = lambda name: lambda: Record(name=name)
    resample = lambda: Record(
        axes=r.vec(lambda: Record(axis=r.u32(), target=r.choice("target of an axis", *axis_targets))),
        coordinates=r.choice(
            "coordinates", named("HalfPixel"), named("PytorchHalfPixel"), named("Asymmetric"), named("AlignCorners"),
            named("HalfPixelSymmetric"), named("TfHalfPixelForNn"), crop,
        ),
        interpolation=function(
            "interpolation", "Linear", "NearestPreferFloor", "NearestPreferCeil", "Floor", "Ceil", "Cubic coefficient"
        ),
        antialias=r.flag(), exclude_outside=r.flag(),
    )  # fmt: skip
    activations = (
        "Relu", "LeakyRelu alpha", "Clip low high", "Sigmoid", "Tanh", "HardSigmoid alpha beta", "HardSwish", "Elu alpha", "Mish",
        "Sqrt", "Gelu", "GeluTanh", "Swish alpha", "Erf", "Exp", "Log", "Abs", "Floor", "Ceil", "Round", "Trunc", "Sign", "Softplus",
        "Softsign", "ThresholdedRelu alpha", "Shrink lambd bias", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh",
        "Acosh", "Atanh",
    )  # fmt: skip
    binaries = (
        "Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Max", "Min", "Remainder", "Modulus", "Equal", "Less", "LessOrEqual",
    )  # fmt: skip
    reductions = ("Sum", "Product", "Max", "Min", "SumOfMagnitudes", "SumOfSquares")
    operators = dict(enumerate([
        None,
        ("Conv", conv),
        ("Gemm", gemm),
        ("Activation", lambda: function("activation", *activations)),
        ("MaxPool", lambda: Record(window=read_window(r), ceil_mode=r.flag())),
        ("AveragePool", lambda: Record(window=read_window(r), ceil_mode=r.flag(), count_include_pad=r.flag())),
        ("GlobalAveragePool", Record),
        ("Lrn", lambda: Record(size=r.u32(), alpha=r.f32(), beta=r.f32(), bias=r.f32())),
        ("BatchNorm", lambda: Record(scale=r.u32(), shift=r.u32())),
        ("Softmax", lambda: Record(start=r.u32(), end=r.u32())),
        ("Flatten", lambda: Record(axis=r.u32())),
        ("Reshape", lambda: Record(dims=r.vec(r.i64))),
        ("Concat", lambda: Record(axis=r.u32())),
        ("Binary", lambda: function("binary operation", *binaries)),
        ("Constant", lambda: Record(dims=r.vec(r.u64), data=r.u32())),
        ("GlobalMaxPool", Record),
        ("ConvTranspose", conv_transpose),
        ("InstanceNorm", lambda: Record(scale=r.u32(), shift=r.u32(), epsilon=r.f32())),
        ("Transpose", lambda: Record(axes=r.vec(r.u32))),
        ("Slice", lambda: Record(axis=r.u32(), start=r.i64(), end=r.i64(), step=r.i64())),
        ("Gather", lambda: Record(axis=r.u32(), indices=r.vec(r.i64))),
        ("Pad", lambda: Record(amounts=r.vec(r.pair), fill=function("fill", "Constant value", "Reflect", "Edge", "Wrap"))),
        ("Resize", resize),
        ("ReduceMean", lambda: Record(axes=r.u32s(), keep=r.flag())),
        ("Expand", lambda: Record(dims=r.vec(r.u64))),
        ("ArgMax", lambda: Record(axis=r.u32(), keep=r.flag(), last=r.flag())),
        ("LayerNorm", lambda: Record(axis=r.u32(), scale=r.u32(), shift=r.u32(), epsilon=r.f32())),
        ("Where", Record),
        ("Reduce", lambda: Record(reduction=function("reduction", *reductions).name, axes=r.u32s(), keep=r.flag())),
        ("LogSoftmax", lambda: Record(start=r.u32(), end=r.u32())),
        ("GroupNorm", lambda: Record(groups=r.u32(), scale=r.u32(), shift=r.u32(), epsilon=r.f32())),
    ]))  # fmt: skip
    meeting = lambda: function("reduction", "Last", "Sum", "Product", "Larger", "Smaller").name
    operators |= {
        31: ("Resample", resample),
        32: ("DepthToSpace", lambda: Record(block=r.u32(), neighbours=r.flag())),
        33: ("SpaceToDepth", lambda: Record(block=r.u32())),
        34: ("GridSample", lambda: Record(
            between=function("way between elements", "Linear", "Nearest", "Cubic").name,
            outside=function("kind of outside", "Zeros", "Border", "Reflection").name, align_corners=r.flag(),
        )),
        35: ("MatMul", lambda: Record(transposed=(r.flag(), r.flag()), alpha=r.f32())),
        36: ("TopK", lambda: Record(axis=r.u32(), k=r.u32(), largest=r.flag(), positions=r.flag())),
        37: ("GatherND", lambda: Record(batch=r.u32())),
        38: ("GatherElements", lambda: Record(axis=r.u32())),
        39: ("ScatterND", lambda: Record(meeting=meeting())),
        40: ("ScatterElements", lambda: Record(axis=r.u32(), meeting=meeting())),
        47: ("Recurrent", lambda: Record(
            cell=function("cell", "Lstm", "Gru", "Tanh", "Relu").name, direction=function("direction", "Forward", "Backward", "Both").name,
            yields_cells=r.flag(), features=r.u32(), hidden=r.u32(), columns=read_columns(r), units=read_columns(r),
            weights=r.u32(), recurrent=r.u32(), bias=r.u32(), reset_bias=r.opt(r.u32),
        )),
        48: ("RoiAlign", lambda: Record(size=r.pair(), samples=r.u32(), scale=r.f32(), half_pixel=r.flag(), largest=r.flag())),
        49: ("VolumeConv", volume_conv),
        41: ("ChannelNorm", lambda: Record(scale=r.u32(), shift=r.u32(), epsilon=r.f32())),
        42: ("Sizes", lambda: Record(dims=r.vec(r.extent), elements=r.vec(r.extent))),
        43: ("Range", lambda: Record(start=r.extent(), step=r.extent(), count=r.extent())),
        44: ("Reshape", lambda: Record(dims=r.vec(r.extent))),
        45: ("Slice", lambda: Record(axis=r.u32(), start=r.extent(), end=r.extent(), step=r.i64())),
        46: ("Expand", lambda: Record(dims=r.vec(r.extent))),
    }  # fmt: skip
    code = r.u8()
    require(code > 0 and code in operators, "section 11", f"operator {code}: needs a newer reader")
    kind, attributes = operators[code]
    op = attributes()
    op.kind = kind
    return op


def check_preprocessing(r):
    color = r.choice("colour", lambda: "gray", lambda: "rgb", lambda: "bgr")
    short_side = r.choice("resize rule", lambda: 1, r.u32)
    scale, mean, std = r.f32(), r.f32s(), r.f32s()
    channels = 1 if color == "gray" else 3
    finite = np.isfinite([scale, *mean, *std]).all()
    require(len(mean) == len(std) == channels and finite and scale != 0 and (std != 0).all(), "R49", "preprocessing: scale, mean or std")
    require(1 <= short_side < WINDOW_LIMIT, "R50", f"preprocessing: short_side {short_side}")


def check_provenance(r):
    r.string(), r.string(), r.u64(), r.take(32), r.flag()


# Section 8: rules on graphs.


def increasing_below(indices, limit):
    return bool((np.diff(indices) > 0).all()) and (len(indices) == 0 or indices[-1] < limit)


ELEMENT_TYPES = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool")
"""By code: section 4, Types."""


class Model:
    """A file whose rules were checked, except those that need shapes."""

    def __init__(self, data):
        found = sections_of(data)
        self.types, self.output_names = None, []
        body = lambda tag: data[found[tag][0] :][: found[tag][1]]
        for tag, read in [
            (b"GRPH", self.set_graph),
            (b"OUTN", self.set_output_names),
            (b"LABL", lambda r: r.vec(r.string)),
            (b"PREP", check_preprocessing),
            (b"PROV", check_provenance),
            (b"TYPE", self.set_types),
        ]:
            if tag in found:
                cursor = Cursor(tag.decode(), body(tag))
                read(cursor)
                cursor.finish()
        self.weights = body(b"WGTS")
        self.check_graph()

    def set_graph(self, cursor):
        self.graph = read_graph(cursor)

    def set_types(self, cursor):
        element_type = lambda: cursor.choice("type of elements", *(lambda t=t: t for t in ELEMENT_TYPES))
        self.types = Record(inputs=cursor.vec(element_type), outputs=cursor.vec(element_type))

    def set_output_names(self, cursor):
        self.output_names = cursor.vec(cursor.string)
        count = len(self.graph.outputs)
        require(len(self.output_names) in (0, count), "R63", f"{len(self.output_names)} names of {count} outputs")

    def blob(self, index, rule, count):
        """The elements of a blob, which must have `count` of them."""
        require(index < len(self.graph.blobs), "R14", f"blob {index} of {len(self.graph.blobs)}")
        blob = self.graph.blobs[index]
        require(blob.length == count, rule, f"blob {index}: {blob.length} elements, expected {count}")
        return np.frombuffer(self.weights, "<f4", blob.length, blob.offset).astype(np.float64)

    def check_graph(self):
        g = self.graph
        if self.types:
            fits = [len(self.types.inputs), len(self.types.outputs)] == [len(g.inputs), len(g.outputs)]
            require(fits, "R55", f"{len(self.types.inputs)} types of inputs, {len(self.types.outputs)} of outputs")
        for i, blob in enumerate(g.blobs):
            fits = blob.offset % 64 == 0 and blob.offset + 4 * blob.length <= len(self.weights)
            require(fits, "R20", f"blob {i}: offset {blob.offset}, {blob.length} elements, in {len(self.weights)} bytes")
        for value in g.values:
            if value.compaction:
                self.check_compaction(value.name, value.compaction)
        require(g.inputs and g.outputs, "R16", "no inputs or no outputs")
        defined = set()

        def define(value):
            require(value < len(g.values) and value not in defined, "R15", f"value {value}: defined twice or out of range")
            defined.add(value)

        for given in g.inputs:
            define(given.value)
            require(g.values[given.value].compaction is None, "R17", f"input value {given.value} has a compaction")
            require(0 not in given.dims, "R17", f"dims {given.dims} of input value {given.value}")
        symbols = {dim for given in g.inputs for dim in given.dims if isinstance(dim, str)}
        for node in g.nodes:
            require(defined.issuperset(node.inputs), "R18", f"node {node.name!r}: inputs {node.inputs} are not all defined before it")
            define(node.output)
            for extent in extents_of(node.op):
                names = symbols_in(extent)
                require(symbols.issuperset(names), "R52", f"node {node.name!r}: symbols {names}, the inputs have {symbols}")
                require(len(names) <= 256, "R53", f"node {node.name!r}: an expression with {len(names)} symbols")
            self.check_node(node)
        require(defined.issuperset(g.outputs), "R19", f"outputs {g.outputs} are not all defined")
        require(len(defined) == len(g.values), "R15", "a value without a definition")

    @staticmethod
    def check_compaction(name, c):
        require(c.logical < CHANNEL_LIMIT, "R24", f"value {name!r}: {c.logical} channels")
        require(increasing_below(c.kept, c.logical), "R25", f"value {name!r}: kept channels")
        complete = len(c.constants) == c.logical - len(c.kept) and np.isfinite(c.constants).all()
        require(complete, "R26", f"value {name!r}: {len(c.constants)} constants")

    def check_node(self, node):
        """Rules that need no shapes. Layers get `matrix`, their logical weights, `reads`, the columns that exist in each group, and
        `bias_of_all` and `taps_of_all` of all filters."""
        op, at = node.op, f"node {node.name!r} ({node.op.kind})"
        counts = {"Constant": (0, 0), "Sizes": (0, 0), "Range": (0, 0), "Binary": (2, 2), "Concat": (1, float("inf")), "MatMul": (2, 2), "Where": (3, 3)}
        counts |= {"GatherND": (2, 2), "GatherElements": (2, 2), "ScatterND": (3, 3), "ScatterElements": (3, 3), "GridSample": (2, 2)}
        counts |= {"RoiAlign": (3, 3)}
        if op.kind == "Recurrent":
            counts["Recurrent"] = (1, 3 if op.cell == "Lstm" else 2)
        lowest, highest = counts.get(op.kind, (1, 1))
        require(lowest <= len(node.inputs) <= highest, "R22", f"{at}: {len(node.inputs)} operands")
        compactions = [self.graph.values[v].compaction for v in [*node.inputs, node.output]]
        if "window" in op.__dict__:
            self.check_window(at, op)
        if op.kind in ("Conv", "ConvTranspose", "VolumeConv"):
            sizes = (op.group, op.channels, op.filters)
            legal = all(1 <= n < CHANNEL_LIMIT for n in sizes) and op.channels % op.group == op.filters % op.group == 0
            require(legal, "R28", f"{at}: group, channels, filters {sizes}")
            taps = op.window.kernel[0] * op.window.kernel[1]
            require(op.channels // op.group * taps < 1 << 32, "R29", f"{at}: too many columns")
            require(len(op.columns) == op.group, "R31", f"{at}: {len(op.columns)} column lists for {op.group} groups")
            self.read_matrix(at, op, op.columns, (op.filters, op.channels, taps), compactions)
            if op.kind == "ConvTranspose":
                require(not op.window.padding.same, "R43", f"{at}: padding that follows from the input's size")
                limits = map(max, zip(op.window.strides, op.window.dilations))
                fits = all(n < limit for n, limit in zip(op.output_padding, limits))
                require(fits, "R44", f"{at}: output padding {op.output_padding}")
            if op.kind == "VolumeConv":
                d = op.depth
                legal = all(1 <= n < WINDOW_LIMIT for n in (d.kernel, d.stride, d.dilation)) and max(d.before, d.after) < WINDOW_LIMIT
                fits = legal and op.window.kernel[0] % d.kernel == 0 and not op.window.padding.same
                require(fits, "R70", f"{at}: depth {d}, kernel {op.window.kernel}")
        elif op.kind == "Gemm":
            require(all(1 <= n < CHANNEL_LIMIT for n in (op.features, op.rows)), "R32", f"{at}: features or rows")
            self.read_matrix(at, op, [op.columns], (op.rows, op.features, 1), compactions)
        elif op.kind == "Recurrent":
            self.read_recurrent(at, op, compactions)
        elif op.kind == "Lrn":
            require(1 <= op.size < CHANNEL_LIMIT, "R40", f"{at}: size {op.size}")
        elif op.kind == "Slice":
            require(0 < abs(op.step) < ELEMENT_LIMIT, "R45", f"{at}: step {op.step}")
        elif op.kind == "Gather":
            require(all(abs(i) <= ELEMENT_LIMIT for i in op.indices), "R46", f"{at}: indices")
        elif op.kind == "Resize" and op.target.factors:
            require(all(0 < f < np.inf for f in op.target.factors), "R47", f"{at}: factors {op.target.factors}")
        elif op.kind in ("Sizes", "Range"):
            require(compactions[0] is None, "R54", f"{at}: its value has a compaction")
            complete = op.kind == "Range" or not extents_of(op.dims) and math.prod(op.dims) == len(op.elements)
            require(complete, "R54", f"{at}: elements")
        elif op.kind == "RoiAlign":
            legal = all(1 <= n < WINDOW_LIMIT for n in op.size) and op.samples < 256 and np.isfinite(op.scale)
            require(legal, "R71", f"{at}: size {op.size}, samples {op.samples}, scale {op.scale}")
        elif op.kind == "TopK":
            require(op.k >= 1, "R62", f"{at}: k {op.k}")
        elif op.kind == "Resample":
            self.check_resample(at, op)
        elif op.kind in ("DepthToSpace", "SpaceToDepth"):
            require(1 <= op.block < WINDOW_LIMIT, "R61", f"{at}: block {op.block}")
        elif op.kind in ("ReduceMean", "Reduce"):
            enough = op.kind == "ReduceMean" or len(op.axes) > 0
            require(enough and increasing_below(op.axes, RANK_LIMIT), "R48", f"{at}: axes {op.axes}")
        elif op.kind == "Constant":
            require(compactions[0] is None, "R42", f"{at}: its value has a compaction")
            count = 1
            for extent in op.dims:
                count *= extent
            op.tensor = self.blob(op.data, "R42", count)

    @staticmethod
    def check_resample(at, op):
        require(increasing_below([a.axis for a in op.axes], RANK_LIMIT), "R57", f"{at}: axes")
        factors = [n for a in op.axes for n in (a.target.factor, a.target.scale) if n is not None]
        crops = op.coordinates.name == "TfCropAndResize"
        others = [*np.ravel(op.coordinates.regions), op.coordinates.outside] if crops else []
        legal = all(0 < f < np.inf for f in factors) and np.isfinite([*others, *op.interpolation.parameters]).all()
        require(legal, "R58", f"{at}: factors {factors}, or what is not finite")
        require(not crops or len(op.coordinates.regions) == len(op.axes), "R59", f"{at}: regions")
        windows = op.interpolation.name in ("Linear", "Cubic")
        require(windows or not op.antialias, "R60", f"{at}: antialias of {op.interpolation.name}")

    @staticmethod
    def check_window(at, op):
        w, p = op.window, op.window.padding
        legal = all(1 <= n < WINDOW_LIMIT for n in [*w.kernel, *w.strides, *w.dilations])
        explicit = [] if p.same else [(p.top, 0), (p.bottom, 0), (p.left, 1), (p.right, 1)]
        require(legal and all(n < WINDOW_LIMIT for n, _ in explicit), "R38", f"{at}: window")
        inside = "Pool" not in op.kind or all(n < reach(w, axis) for n, axis in explicit)
        require(inside, "R39", f"{at}: padding as wide as the window")

    def read_matrix(self, at, op, lists, logical, compactions):
        """Scatters a layer's panels into the matrix that it had before anything was removed (section 7)."""
        rows, channels, taps = logical
        given, made = compactions
        for what, compaction, extent in [("input", given, channels), ("output", made, rows)]:
            require(compaction is None or compaction.logical == extent, "R30", f"{at}: logical channels of the {what}")
        kept_rows = np.arange(rows) if made is None else made.kept
        exists = np.ones(channels, bool)
        if given is not None:
            exists[:] = False
            exists[given.kept] = True
        rows_per_group, channels_per_group = rows // len(lists), channels // len(lists)
        width = channels_per_group * taps
        blocks = []
        for g, columns in enumerate(lists):
            columns = np.arange(width) if columns is None else columns
            require(increasing_below(columns, width), "R34", f"{at}: columns of group {g}")
            require(exists[g * channels_per_group + columns // taps].all(), "R34", f"{at}: group {g} reads a removed channel")
            blocks.append((kept_rows[kept_rows // rows_per_group == g], columns))
        elements = self.blob(op.weights, "R35", sum(len(r) * len(c) for r, c in blocks))
        op.matrix, op.reads, first = np.zeros((rows, width)), np.zeros((len(lists), width), bool), 0
        for g, (block_rows, columns) in enumerate(blocks):
            op.reads[g, columns] = True
            size = len(block_rows) * len(columns)
            op.matrix[np.ix_(block_rows, columns)] = unpack(elements[first : first + size], len(block_rows), len(columns))
            first += size
        op.kept_rows, op.bias_of_all = kept_rows, np.zeros(rows)
        op.bias_of_all[kept_rows] = self.blob(op.bias, "R36", len(kept_rows))
        op.taps_of_all = np.zeros((rows, taps))
        if op.kind != "Gemm" and op.taps is not None:
            op.taps_of_all[kept_rows] = self.blob(op.taps, "R37", len(kept_rows) * taps).reshape(-1, taps)

    def read_recurrent(self, at, op, compactions):
        """Scatters weights into `w` [directions, gates, hidden, features] and `r` [directions, gates, hidden, hidden]."""
        directions = [False, True] if op.direction == "Both" else [op.direction == "Backward"]
        gates, count, hidden = {"Lstm": 4, "Gru": 3}.get(op.cell, 1), len(directions), op.hidden
        legal = all(n >= 1 and n * count < CHANNEL_LIMIT for n in (op.features, hidden))
        require(legal, "R64", f"{at}: {op.features} features, {hidden} units")
        for i, c in enumerate(compactions):
            require(c is None or c.logical == (count * hidden if i else op.features), "R65", f"{at}: logical channels of value {i}")
        columns = np.arange(op.features) if op.columns is None else op.columns
        units = np.arange(count * hidden) if op.units is None else op.units
        there = np.arange(op.features) if compactions[0] is None else compactions[0].kept
        made = np.arange(count * hidden) if compactions[-1] is None else compactions[-1].kept
        legal = increasing_below(columns, op.features) and increasing_below(units, count * hidden)
        legal = legal and np.isin(columns, there).all() and np.isin(made, units).all()
        require(legal, "R66", f"{at}: columns or units")
        legal = op.cell == "Lstm" or not op.yields_cells
        require(legal and (op.cell == "Gru" or op.reset_bias is None), "R67", f"{at}: yields_cells or reset_bias")
        of = [units[units // hidden == d] - d * hidden for d in range(count)]
        rows = [(d, g, u) for d in range(count) for g in range(gates) for u in of[d]]
        weights = unpack(self.blob(op.weights, "R68", len(rows) * len(columns)), len(rows), len(columns))
        recurrent = self.blob(op.recurrent, "R68", sum(gates * len(own) ** 2 for own in of))
        bias = self.blob(op.bias, "R69", len(rows))
        op.backward, op.computed = directions, of
        op.w, op.r = np.zeros((count, gates, hidden, op.features)), np.zeros((count, gates, hidden, hidden))
        op.b, op.inner = np.zeros((count, gates, hidden)), np.zeros((count, hidden))
        for row, (d, g, u) in enumerate(rows):
            op.w[d, g, u, columns], op.b[d, g, u] = weights[row], bias[row]
        splits, at_element = [[0, 1], [2]] if op.cell == "Gru" and op.reset_bias is None else [range(gates)], 0
        for d, own in enumerate(of):
            for split in splits:
                size = len(split) * len(own) ** 2
                matrix = unpack(recurrent[at_element : at_element + size], len(split) * len(own), len(own))
                at_element += size
                for i, g in enumerate(split):
                    op.r[d, g][np.ix_(own, own)] = matrix[i * len(own) : (i + 1) * len(own)]
        if op.reset_bias is not None:
            op.inner[units // hidden, units % hidden] = self.blob(op.reset_bias, "R69", len(units))


def unpack(elements, rows, columns):
    """The rows x columns matrix stored in panels of 8 rows, each column by column."""
    matrix = np.empty((rows, columns))
    for first in range(0, rows, 8):
        height = min(8, rows - first)
        panel = elements[first * columns : (first + height) * columns]
        matrix[first : first + height] = panel.reshape(columns, height).T
    return matrix


# Sections 5 and 6: what operators yield, on logical values.


def reach(window, axis):
    return (window.kernel[axis] - 1) * window.dilations[axis] + 1


class Slide:
    """A window's geometry on an input of height x width."""

    def __init__(self, window, x, ceil_mode):
        require(x.ndim == 4, "R27", f"operand of shape {x.shape}, expected four axes")
        self.window, self.size = window, x.shape[2:]
        p = window.padding
        self.pads = [self.same(axis) for axis in (0, 1)] if p.same else [(p.top, p.bottom), (p.left, p.right)]
        self.out = []
        for axis, (before, after) in enumerate(self.pads):
            size, stride = self.size[axis], window.strides[axis]
            spare = size + before + after - reach(window, axis)
            require(spare >= 0, "R27", f"a window of reach {reach(window, axis)} on {size} + {before} + {after}")
            count = spare // stride + 1
            if ceil_mode and spare % stride and count * stride < size + before:
                count += 1
            self.out.append(count)
        check_size((*x.shape[:2], *self.out))

    def same(self, axis):
        size, stride = self.size[axis], self.window.strides[axis]
        total = max(0, (-(-size // stride) - 1) * stride + reach(self.window, axis) - size)
        small, large = total // 2, total - total // 2
        return (large, small) if self.window.padding.lower else (small, large)

    def taps(self, planes, fill, before=None):
        """What each tap (kh, kw in order) sees at all output positions; `fill` where it lies outside of `planes`, which start
        `before` (by default the padding) behind the first window."""
        spans = [(n - 1) * self.window.strides[axis] + reach(self.window, axis) for axis, n in enumerate(self.out)]
        wide = np.full((*planes.shape[:2], *spans), fill, np.float64)
        top, left = before or [pads[0] for pads in self.pads]
        part = wide[:, :, top : top + planes.shape[2], left : left + planes.shape[3]]
        part[:] = planes[:, :, : part.shape[2], : part.shape[3]]
        (dh, dw), (sh, sw) = self.window.dilations, self.window.strides
        for kh in range(self.window.kernel[0]):
            for kw in range(self.window.kernel[1]):
                yield wide[:, :, kh * dh :: sh, kw * dw :: sw][:, :, : self.out[0], : self.out[1]]

    def counts(self, include_pad):
        """Taps that lie inside the input, or inside the padded input, at each output position."""
        if not include_pad:
            return sum(self.taps(np.ones((1, 1, *self.size)), 0.0))
        padded = [size + sum(pads) for size, pads in zip(self.size, self.pads)]
        return sum(self.taps(np.ones((1, 1, *padded)), 0.0, (0, 0)))


def check_size(shape):
    elements = 1
    for extent in shape:
        elements *= max(1, int(extent))
    require(len(shape) <= RANK_LIMIT and elements <= ELEMENT_LIMIT, "R21", f"a value of shape {tuple(shape)}")


class Scatter:
    """A window's geometry in a ConvTranspose: input positions reach output positions, not the other way round."""

    def __init__(self, op, x):
        require(x.ndim == 4, "R27", f"operand of shape {x.shape}, expected four axes")
        w, p = op.window, op.window.padding
        self.window, self.before, self.spans, self.out = w, (p.top, p.left), [], []
        for axis, after in enumerate((p.bottom, p.right)):
            span = (x.shape[2 + axis] - 1) * w.strides[axis] + reach(w, axis) + op.output_padding[axis]
            require(span >= self.before[axis] + after, "R27", f"padding {self.before[axis]} + {after} of {span} positions")
            self.spans.append(span)
            self.out.append(span - self.before[axis] - after)
        check_size((*x.shape[:2], *self.out))
        require(0 not in self.out, "section 5", f"a result of {self.out}")

    def taps(self, planes, fill):
        """What each tap (kh, kw in order) brings to all output positions; `fill` where it brings nothing."""
        (dh, dw), (sh, sw), (top, left) = self.window.dilations, self.window.strides, self.before
        height, width = planes.shape[2:]
        for kh in range(self.window.kernel[0]):
            for kw in range(self.window.kernel[1]):
                wide = np.full((*planes.shape[:2], *self.spans), fill, np.float64)
                wide[:, :, kh * dh :: sh, kw * dw :: sw][:, :, :height, :width] = planes
                yield wide[:, :, top:, left:][:, :, : self.out[0], : self.out[1]]


def conv(op, x):
    require(x.ndim == 4 and x.shape[1] == op.channels, "R27", f"operand of shape {x.shape}, expected {op.channels} channels")
    geometry = Slide(op.window, x, False) if op.kind == "Conv" else Scatter(op, x)
    check_size((len(x), op.filters, *geometry.out))
    y = np.zeros((len(x), op.filters, *geometry.out)) + op.bias_of_all[:, None, None]
    taps = op.window.kernel[0] * op.window.kernel[1]
    rows, channels = op.filters // op.group, op.channels // op.group
    inside = geometry.taps(np.ones((1, 1, *x.shape[2:])), 0.0)
    for tap, (seen, is_inside) in enumerate(zip(geometry.taps(x, 0.0), inside)):
        y += op.taps_of_all[:, tap, None, None] * is_inside
        for g in range(op.group):
            weights = op.matrix[g * rows : (g + 1) * rows, tap::taps]
            # What no column reads is absent, not multiplied by zero: it may be infinite.
            part = np.where(op.reads[g, tap::taps, None, None], seen[:, g * channels : (g + 1) * channels], 0.0)
            y[:, g * rows : (g + 1) * rows] += np.einsum("fc,nchw->nfhw", weights, part, optimize=True)
    return y


def volume_conv(op, x):
    require(x.ndim == 5 and x.shape[1] == op.channels, "R27", f"operand of shape {x.shape}, expected {op.channels} channels")
    d, (rows, columns) = op.depth, op.window.kernel
    window = Record(**{**vars(op.window), "kernel": (rows // d.kernel, columns)})
    spare = x.shape[2] + d.before + d.after - ((d.kernel - 1) * d.dilation + 1)
    require(spare >= 0, "R27", f"a window of {d.kernel} slices on {x.shape[2]} + {d.before} + {d.after}")
    taps, in_plane = rows * columns, rows // d.kernel * columns
    slices = []
    for od in range(spare // d.stride + 1):
        y = op.bias_of_all[:, None, None]
        for kd in range(d.kernel):
            at = od * d.stride - d.before + kd * d.dilation
            if not 0 <= at < x.shape[2]:
                continue
            # What one slice contributes is a Conv of its own, without a bias.
            of = np.arange(op.channels // op.group)[:, None] * taps + kd * in_plane + np.arange(in_plane)
            part = Record(
                kind="Conv", window=window, group=op.group, channels=op.channels, filters=op.filters, matrix=op.matrix[:, of.ravel()],
                reads=op.reads[:, of.ravel()], bias_of_all=np.zeros(op.filters),
                taps_of_all=op.taps_of_all[:, kd * in_plane : (kd + 1) * in_plane],
            )  # fmt: skip
            y = y + conv(part, x[:, :, at])
        if np.ndim(y) == 3:
            shape = (len(x), op.filters, *Slide(window, x[:, :, 0], False).out)
            y = np.broadcast_to(y, shape)
        slices.append(y)
    return np.stack(slices, 2)


def gemm(op, x):
    require(x.ndim >= 1 and x.shape[-1] == op.features, "R27", f"operand of shape {x.shape}, expected {op.features} features")
    check_size((*x.shape[:-1], op.rows))
    return np.where(op.reads[0], x, 0.0) @ op.matrix.T + op.bias_of_all


def matmul(op, *operands):
    require(all(x.ndim >= 2 for x in operands), "R27", f"operands of shapes {[x.shape for x in operands]}")
    a, b = (x.swapaxes(-1, -2) if swapped else x for x, swapped in zip(operands, op.transposed))
    require(a.shape[-1] == b.shape[-2], "R27", f"matrices of shapes {a.shape} and {b.shape}")
    check_size((*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))
    return op.alpha * (a @ b)


def max_pool(op, x):
    y = -np.inf
    for seen in Slide(op.window, x, op.ceil_mode).taps(x, -np.inf):
        y = np.maximum(y, seen)
    return y


def average_pool(op, x):
    slide = Slide(op.window, x, op.ceil_mode)
    return sum(slide.taps(x, 0.0)) / np.maximum(slide.counts(op.count_include_pad), 1)


def global_pool(op, x):
    require(x.ndim == 4, "R27", f"operand of shape {x.shape}, expected four axes")
    return x.mean((2, 3), keepdims=True) if op.kind == "GlobalAveragePool" else x.max((2, 3), keepdims=True)


def between(x, low, high):
    """A bound that is NaN is none."""
    x = np.where(x < low, np.float32(low), x)
    return np.where(x > high, np.float32(high), x)


def activation(op, x):
    n = op.parameters
    return {
        "Relu": lambda: np.maximum(x, 0.0),
        "LeakyRelu": lambda: np.where(x < 0, n[0] * x, x),
        "Clip": lambda: between(x, *n[:2]),
        "Sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "Tanh": lambda: np.tanh(x),
        "HardSigmoid": lambda: np.clip(n[0] * x + n[1], 0.0, 1.0),
        "HardSwish": lambda: x * np.clip(x / 6 + 0.5, 0.0, 1.0),
        "Elu": lambda: np.where(x < 0, n[0] * np.expm1(np.minimum(x, 0)), x),
        "Mish": lambda: x * np.tanh(np.logaddexp(0, x)),
        "Sqrt": lambda: np.sqrt(x),
        "Gelu": lambda: x / 2 * (1 + np.vectorize(math.erf, [float])(x / math.sqrt(2))),
        "Swish": lambda: x / (1 + np.exp(-n[0] * x)),
        "GeluTanh": lambda: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "Erf": lambda: np.vectorize(math.erf, [float])(x),
        "Exp": lambda: np.exp(x),
        "Log": lambda: np.log(x),
        "Abs": lambda: np.abs(x),
        "Floor": lambda: np.floor(x),
        "Ceil": lambda: np.ceil(x),
        "Round": lambda: np.rint(x),
        "Trunc": lambda: np.trunc(x),
        "Sign": lambda: np.sign(x),
        "Softplus": lambda: np.logaddexp(0, x),
        "Softsign": lambda: x / (1 + np.abs(x)),
        "ThresholdedRelu": lambda: np.where(x > n[0], x, 0.0),
        "Shrink": lambda: np.where(x < -n[0], x + n[1], np.where(x > n[0], x - n[1], 0.0)),
        "Sin": lambda: np.sin(x),
        "Cos": lambda: np.cos(x),
        "Tan": lambda: np.tan(x),
        "Asin": lambda: np.arcsin(x),
        "Acos": lambda: np.arccos(x),
        "Atan": lambda: np.arctan(x),
        "Sinh": lambda: np.sinh(x),
        "Cosh": lambda: np.cosh(x),
        "Asinh": lambda: np.arcsinh(x),
        "Acosh": lambda: np.arccosh(x),
        "Atanh": lambda: np.arctanh(x),
    }[op.name]()


def binary(op, a, b):
    broadcast(a.shape, b.shape)
    return {
        "Add": lambda: a + b,
        "Sub": lambda: a - b,
        "Mul": lambda: a * b,
        "Div": lambda: a / b,
        "Pow": lambda: a**b,
        "PRelu": lambda: np.where(a < 0, a * b, a),
        "Max": lambda: np.maximum(a, b),
        "Min": lambda: np.minimum(a, b),
        "Remainder": lambda: np.fmod(a, b),
        "Modulus": lambda: np.mod(a, b),
        "Equal": lambda: (a == b).astype(np.float64),
        "Less": lambda: (a < b).astype(np.float64),
        "LessOrEqual": lambda: (a <= b).astype(np.float64),
    }[op.name]()


def where(_, condition, x, y):
    broadcast(condition.shape, broadcast(x.shape, y.shape))
    return np.where(condition != 0, x, y)


def broadcast(a, b):
    check_size(a), check_size(b)
    try:
        shape = np.broadcast_shapes(a, b)
    except ValueError as e:
        raise Refused(f"R27: {e}") from e
    check_size(shape)
    return shape


def lrn(op, x):
    require(x.ndim >= 2, "R27", f"operand of shape {x.shape}, expected two axes at least")
    channels, before = x.shape[1], (op.size - 1) // 2
    y = np.empty_like(x)
    for c in range(channels):
        window = x[:, max(0, c - before) : min(channels, c + op.size - before)]
        y[:, c] = x[:, c] / (op.bias + op.alpha / op.size * (window * window).sum(1)) ** op.beta
    return y


def softmax(op, x):
    require(op.start < op.end <= x.ndim, "R27", f"axes {op.start}..{op.end} of an operand of shape {x.shape}")
    axes = tuple(range(op.start, op.end))
    below = x - x.max(axes, keepdims=True)
    powers = np.exp(below)
    total = powers.sum(axes, keepdims=True)
    return below - np.log(total) if op.kind == "LogSoftmax" else powers / total


def flatten(op, x):
    require(op.axis <= x.ndim, "R27", f"axis {op.axis} of an operand of shape {x.shape}")
    return x.reshape(int(np.prod(x.shape[: op.axis])), -1)


def reshape(op, x):
    require(all(d >= -1 for d in op.dims) and op.dims.count(-1) <= 1, "R27", f"dims {op.dims}")
    require(all(d or i < x.ndim for i, d in enumerate(op.dims)), "R27", f"dims {op.dims} of an operand of shape {x.shape}")
    target = [d or x.shape[i] for i, d in enumerate(op.dims)]
    check_size([abs(d) for d in target])
    try:
        return x.reshape(target)
    except ValueError as e:
        raise Refused(f"R27: {e}") from e


def concat(op, *parts):
    first = parts[0]
    require(op.axis < first.ndim, "R27", f"axis {op.axis} of an operand of shape {first.shape}")
    others = lambda x: (*x.shape[: op.axis], *x.shape[op.axis + 1 :])
    fit = all(x.ndim == first.ndim and others(x) == others(first) for x in parts)
    require(fit, "R27", f"operands of shapes {[x.shape for x in parts]}")
    return np.concatenate(parts, op.axis)


def transpose(op, x):
    require(sorted(op.axes) == list(range(x.ndim)), "R27", f"axes {op.axes} of an operand of shape {x.shape}")
    return x.transpose(op.axes)


def on_axis(op, x):
    """The extent of the operator's axis."""
    require(op.axis < x.ndim, "R27", f"axis {op.axis} of an operand of shape {x.shape}")
    return x.shape[op.axis]


def slice_(op, x):
    extent = on_axis(op, x)
    bound = lambda n, low, high: min(max(n + extent if n < 0 else n, low), high)
    if op.step > 0:
        positions = range(bound(op.start, 0, extent), bound(op.end, 0, extent), op.step)
    else:
        positions = range(bound(op.start, 0, extent - 1), bound(op.end, -1, extent - 1), op.step)
    return x.take(np.array(positions, np.int64), op.axis)


def gather(op, x):
    extent = on_axis(op, x)
    require(all(-extent <= i < extent for i in op.indices), "R27", f"indices {op.indices} of an extent of {extent}")
    return x.take(np.array(op.indices, np.int64) % extent, op.axis)


def pad(op, x):
    require(len(op.amounts) == x.ndim, "R27", f"{len(op.amounts)} pairs of amounts for an operand of shape {x.shape}")
    if op.fill.name == "Reflect":
        require(all(max(a) < e for a, e in zip(op.amounts, x.shape)), "R27", f"amounts {op.amounts}, operand of shape {x.shape}")
    check_size([before + extent + after for extent, (before, after) in zip(x.shape, op.amounts)])
    if op.fill.name == "Constant":
        return np.pad(x, op.amounts, constant_values=op.fill.parameters[0])
    return np.pad(x, op.amounts, op.fill.name.lower())


def resize(op, x):
    require(x.ndim == 4, "R27", f"operand of shape {x.shape}, expected four axes")
    shape, scales = list(x.shape), []
    for axis, size in enumerate(x.shape[2:]):
        if op.target.factors:
            factor = np.float32(op.target.factors[axis])
            shape[2 + axis] = int(min(np.floor(np.float32(size) * factor), 2.0**41))
            scales.append(float(factor))
        else:
            shape[2 + axis] = op.target.extents[axis]
            scales.append(shape[2 + axis] / size)
    check_size(shape)
    for axis in (2, 3):
        x = resize_axis(op, x, axis, shape[axis], scales[axis - 2])
    return x


def resize_axis(op, x, axis, new, scale):
    o, last = np.arange(new, dtype=np.float64), x.shape[axis] - 1
    if op.coordinates == "AlignCorners":
        at = o * last / (new - 1) if new > 1 else 0 * o
    elif op.coordinates == "Asymmetric":
        at = o / scale
    else:
        at = (o + 0.5) / scale - 0.5 if op.coordinates == "HalfPixel" or new > 1 else 0 * o
    within = lambda position: np.clip(position, 0, last).astype(np.int64)
    if op.interpolation == "Linear":
        at = np.clip(at, 0, last)
        first = within(np.floor(at))
        share = (at - first).reshape(-1, *[1] * (x.ndim - 1 - axis))
        return (1 - share) * x.take(first, axis) + share * x.take(within(first + 1), axis)
    return x.take(nearest(op.interpolation, at, last), axis)


def nearest(interpolation, at, last):
    round_to_whole = {
        "NearestPreferFloor": lambda p: np.ceil(p - 0.5),
        "NearestPreferCeil": lambda p: np.floor(p + 0.5),
        "Floor": np.floor,
        "Ceil": np.ceil,
    }[interpolation]
    return np.clip(round_to_whole(at), 0, last).astype(np.int64)


def resample(op, x):
    plans = []
    for place, axis in enumerate(op.axes):
        require(axis.axis < x.ndim, "R27", f"axis {axis.axis} of an operand of shape {x.shape}")
        size, target = x.shape[axis.axis], axis.target
        if target.factor is not None:
            scale = np.float32(target.factor)
            new = int(min(np.floor(np.float32(size) * scale), 2.0**41))
        else:
            new = target.extent
            scale = np.float32(new) / np.float32(size) if target.scale is None else np.float32(target.scale)
        plans.append((place, axis.axis, new, scale))
    shape = list(x.shape)
    for _, axis, new, _ in plans:
        shape[axis] = new
    check_size(shape)
    for place, axis, new, scale in plans:
        if scale != 1 or new != x.shape[axis]:
            x = np.moveaxis(resample_axis(op, np.moveaxis(x, axis, 0), place, new, scale), 0, axis)
    return x


def resample_axis(op, x, place, new, scale):
    """The first axis of x."""
    f32, i, last = np.float32, np.arange(new, dtype=np.float32), x.shape[0] - 1
    half, size, name = f32(0.5), f32(x.shape[0]), op.coordinates.name
    at, outside = (i + half) / scale - half, None
    if name == "TfCropAndResize":
        start, end = map(f32, op.coordinates.regions[place])
        crossed = i * (end - start) * f32(last) / f32(new - 1) if new > 1 else None
        at = start * f32(last) + crossed if new > 1 else (half * (start + end) * f32(last))[None]
        outside = (at < 0) | (at > last)
    elif name in ("AlignCorners", "PytorchHalfPixel") and new == 1:
        at = 0 * i
    elif name == "AlignCorners":
        at = i * f32(last) / f32(new - 1)
    elif name == "Asymmetric":
        at = i / scale
    elif name == "TfHalfPixelForNn":
        at = (i + half) / scale
    elif name == "HalfPixelSymmetric":
        offset = size / f32(2) * (f32(1) - f32(new) / (scale * size))
        at = f32(float(offset) + (i.astype(np.float64) + 0.5) / float(scale) - 0.5)
    y = resample_at(op, x, at, scale, last)
    if outside is not None:
        y[outside] = op.coordinates.outside
    return y


def resample_at(op, x, at, scale, last):
    column = lambda array: array.reshape(-1, *[1] * (x.ndim - 1))
    name = op.interpolation.name
    if name == "Cubic" or (name == "Linear" and op.antialias):
        return resample_windows(op, x, at, scale, last)
    at = at.astype(np.float64)
    if name == "Linear":
        at = np.clip(at, 0, last)
        first = np.floor(at).astype(np.int64)
        share = column(at - first)
        return (1 - share) * x[first] + share * x[np.clip(first + 1, 0, last)]
    middle = np.floor(at) + 0.5
    return x[nearest(name, np.where(np.abs(at - middle) < 1e-6, middle, at), last)].astype(np.float64)


def resample_windows(op, x, at, scale, last):
    cubic = op.interpolation.name == "Cubic"
    a = np.float32(op.interpolation.parameters[0]) if cubic else None
    stretch = max(np.float32(1), np.float32(1) / scale) if op.antialias else np.float32(1)
    reach = np.float32(2 if cubic else 1) * stretch

    def weight(d):
        if not cubic:
            return max(1 - d, 0)
        return ((a + 2) * d - (a + 3)) * d * d + 1 if d < 1 else (((d - 5) * d + 8) * d - 4) * a if d < 2 else 0

    y = np.zeros((len(at), *x.shape[1:]))
    for out, p in zip(y, at):
        taps = range(int(np.floor(p - reach + np.float32(1))), int(np.floor(p + reach + np.float32(1))))
        taps = [t for t in taps if 0 <= t <= last or not op.exclude_outside]
        weights = [float(weight(abs(np.float32(t) - p) / stretch)) for t in taps]
        for t, w in zip(taps, weights):
            out += w / (sum(weights) or 1) * x[min(max(t, 0), last)]
    return y


def depth_to_space(op, x):
    b = op.block
    require(x.ndim == 4 and x.shape[1] % (b * b) == 0, "R27", f"operand of shape {x.shape}, block {b}")
    n, c, h, w = x.shape
    if op.neighbours:
        return x.reshape(n, c // b // b, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // b // b, h * b, w * b)
    return x.reshape(n, b, b, c // b // b, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b // b, h * b, w * b)


def space_to_depth(op, x):
    b = op.block
    require(x.ndim == 4 and x.shape[2] % b == x.shape[3] % b == 0, "R27", f"operand of shape {x.shape}, block {b}")
    n, c, h, w = x.shape
    return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, b * b * c, h // b, w // b)


def roi_align(op, x, regions, images):
    require(x.ndim == 4 and regions.shape == (len(images), 4) and images.ndim == 1, "R27", f"regions of shape {regions.shape}")
    require(min(x.shape[2:]) >= 1, "R71", f"planes of shape {x.shape}")
    y = np.zeros((len(regions), x.shape[1], *op.size))

    def axis(bounds, size, extent):
        """For each element of its samples the two indices and weights, or None."""
        start, end = np.clip(bounds * op.scale - (0.5 if op.half_pixel else 0.0), -1e9, 1e9)
        length = (end - start if op.half_pixel else max(end - start, 1.0)) / size
        count = op.samples or max(math.ceil(length), 0)
        found = []
        for i in range(size):
            places = [start + i * length + (s + 0.5) * length / count for s in range(count)]
            clipped = [min(max(p, 0.0), extent - 1) for p in places]
            pairs = [((int(p), 1 - p % 1), (min(int(p) + 1, extent - 1), p % 1)) for p in clipped]
            found.append([pair if -1 <= p <= extent else None for p, pair in zip(places, pairs)])
        return found

    for r, image in enumerate(images):
        if not 0 <= image < len(x):
            continue
        rows = axis(regions[r, [1, 3]], op.size[0], x.shape[2])
        columns = axis(regions[r, [0, 2]], op.size[1], x.shape[3])
        for i, j in np.ndindex(*op.size):
            weighted = []
            for down, right in ((a, b) for a in rows[i] for b in columns[j]):
                if down is None or right is None:
                    weighted.append(np.zeros(x.shape[1]))
                else:
                    weighted += [v * w * x[int(image), :, h, k] for h, v in down for k, w in right]
            if op.largest:
                y[r, :, i, j] = np.max(weighted, 0) if weighted else 0.0
            else:
                y[r, :, i, j] = sum(weighted, np.zeros(x.shape[1])) / max(1, len(rows[i]) * len(columns[j]))
    return y


def grid_sample(op, x, grid):
    fits = x.ndim == grid.ndim == 4 and grid.shape[3] == 2 and x.shape[0] == grid.shape[0] and min(x.shape[2:]) > 0
    require(fits, "R27", f"operands of shapes {x.shape} and {grid.shape}")
    y = np.zeros((*x.shape[:2], *grid.shape[1:3]))
    for n, i, j in np.ndindex(*grid.shape[:3]):
        columns, rows = (grid_taps(op, grid[n, i, j, axis], x.shape[3 - axis]) for axis in (0, 1))
        y[n, :, i, j] = sum(w * v * x[n, :, row, column] for row, w in rows for column, v in columns)
    return y


def grid_taps(op, place, size):
    p = (place + 1) / 2 * (size - 1) if op.align_corners else ((place + 1) * size - 1) / 2
    p = min(max(p, -1e9), 1e9)
    q = int(np.floor(p))
    cubic = lambda d: (1.25 * d - 2.25) * d * d + 1 if d <= 1 else -0.75 * (((d - 5) * d + 8) * d - 4)
    taps = {
        "Linear": [(q, 1 - (p - q)), (q + 1, p - q)],
        "Nearest": [(int(np.rint(p)), 1)],
        "Cubic": [(t, cubic(abs(p - t))) for t in range(q - 1, q + 3)],
    }[op.between]
    if op.outside == "Zeros":
        return [(t, w) for t, w in taps if 0 <= t < size]
    if op.outside == "Border" or size == 1:
        return [(min(max(t, 0), size - 1), w) for t, w in taps]
    period = 2 * (size - 1) if op.align_corners else 2 * size
    mirrored = lambda t: t % period if t % period < size else period - t % period - (not op.align_corners)
    return [(mirrored(t), w) for t, w in taps]


def recurrent(op, x, *states):
    count, gates, hidden = op.b.shape
    require(x.ndim == 3 and x.shape[1] == op.features, "R27", f"operand of shape {x.shape}, expected {op.features} features")
    for state in states:
        require(state.shape == (len(x), count * hidden), "R27", f"a state of shape {state.shape}")
    given = lambda i, d: states[i][:, d * hidden : (d + 1) * hidden] if i < len(states) else np.zeros((len(x), hidden))
    s, y = lambda a: 1 / (1 + np.exp(-a)), np.zeros((len(x), count * hidden, x.shape[2]))
    for d, backward in enumerate(op.backward):
        h, c = given(0, d), given(1, d)
        for t in reversed(range(x.shape[2])) if backward else range(x.shape[2]):
            own = [np.einsum("nf,uf->nu", x[:, :, t], op.w[d, g]) + op.b[d, g] for g in range(gates)]
            product = lambda g, h: h @ op.r[d, g].T
            total = lambda g: own[g] + product(g, h)
            if op.cell == "Lstm":
                c = s(total(2)) * c + s(total(0)) * np.tanh(total(3))
                h = s(total(1)) * np.tanh(c)
            elif op.cell == "Gru":
                z, r = s(total(0)), s(total(1))
                inner = product(2, r * h) if op.reset_bias is None else r * (product(2, h) + op.inner[d])
                h = (1 - z) * np.tanh(own[2] + inner) + z * h
            else:
                h = np.tanh(total(0)) if op.cell == "Tanh" else np.maximum(total(0), 0)
            y[:, d * hidden : (d + 1) * hidden, t] = c if op.yields_cells else h
    return y


def reduce_mean(op, x):
    require(all(a < x.ndim for a in op.axes), "R27", f"axes {op.axes} of an operand of shape {x.shape}")
    return x.mean(tuple(op.axes), keepdims=op.keep)


def reduce(op, x):
    require(all(a < x.ndim for a in op.axes), "R27", f"axes {op.axes} of an operand of shape {x.shape}")
    of = {
        "Sum": np.sum,
        "Product": np.prod,
        "Max": np.maximum.reduce,
        "Min": np.minimum.reduce,
        "SumOfMagnitudes": lambda x, axes, keepdims: np.abs(x).sum(axes, keepdims=keepdims),
        "SumOfSquares": lambda x, axes, keepdims: (x * x).sum(axes, keepdims=keepdims),
    }[op.reduction]
    return np.asarray(of(x, tuple(op.axes), keepdims=op.keep))


def arg_max(op, x):
    extent = on_axis(op, x)
    y = extent - 1 - np.flip(x, op.axis).argmax(op.axis) if op.last else x.argmax(op.axis)
    return (np.expand_dims(y, op.axis) if op.keep else np.asarray(y)).astype(np.float64)


def top_k(op, x):
    extent = on_axis(op, x)
    require(op.k <= extent, "R27", f"the first {op.k} of an extent of {extent}")
    order = np.argsort(-x if op.largest else x, op.axis, kind="stable").take(np.arange(op.k), op.axis)
    return order.astype(np.float64) if op.positions else np.take_along_axis(x, order, op.axis)


def places_of(indices, extents):
    """Of indices on axes of these extents, where they lead and whether that lies inside."""
    extents = np.array(extents, np.int64)
    places = np.clip(np.nan_to_num(np.trunc(indices)), -(2.0**40), 2.0**40).astype(np.int64)
    places = np.where(places < 0, places + extents, places)
    return np.clip(places, 0, extents - 1), (places >= 0) & (places < extents)


def gather_nd(op, x, indices):
    require(op.batch < indices.ndim, "R27", f"{op.batch} axes of indices of shape {indices.shape}")
    behind = op.batch + indices.shape[-1]
    same = behind <= x.ndim and x.shape[: op.batch] == indices.shape[: op.batch]
    require(same, "R27", f"indices of shape {indices.shape} for an operand of shape {x.shape}")
    check_size((*indices.shape[:-1], *x.shape[behind:]))
    places, _ = places_of(indices, x.shape[op.batch : behind])
    common = np.indices(indices.shape[:-1])[: op.batch]
    return x[(*common, *np.moveaxis(places, -1, 0))]


def same_besides(op, x, indices):
    others = lambda shape: (*shape[: op.axis], *shape[op.axis + 1 :])
    fits = op.axis < x.ndim == indices.ndim and others(x.shape) == others(indices.shape)
    require(fits, "R27", f"indices of shape {indices.shape} for an operand of shape {x.shape}")


def gather_elements(op, x, indices):
    same_besides(op, x, indices)
    places, _ = places_of(indices, x.shape[op.axis])
    return np.take_along_axis(x, places, op.axis)


def meet(op, y, at, comes):
    there = y[at]
    y[at] = {
        "Last": lambda: comes,
        "Sum": lambda: there + comes,
        "Product": lambda: there * comes,
        "Larger": lambda: np.maximum(there, comes),
        "Smaller": lambda: np.minimum(there, comes),
    }[op.meeting]()


def scatter_nd(op, x, indices, updates):
    require(indices.ndim >= 1 and indices.shape[-1] <= x.ndim, "R27", f"indices of shape {indices.shape}")
    count = indices.shape[-1]
    fits = updates.shape == (*indices.shape[:-1], *x.shape[count:])
    require(fits, "R27", f"updates of shape {updates.shape} for indices of shape {indices.shape}")
    places, inside = places_of(indices, x.shape[:count])
    y = x.copy()
    for point in np.ndindex(indices.shape[:-1]):
        if inside[point].all():
            meet(op, y, tuple(places[point]), updates[point])
    return y


def scatter_elements(op, x, indices, updates):
    same_besides(op, x, indices)
    require(updates.shape == indices.shape, "R27", f"updates of shape {updates.shape} for indices of shape {indices.shape}")
    places, inside = places_of(indices, x.shape[op.axis])
    y = x.copy()
    for at in np.ndindex(indices.shape):
        if inside[at]:
            meet(op, y, (*at[: op.axis], places[at], *at[op.axis + 1 :]), updates[at])
    return y


OPERATORS = {
    "Conv": conv, "VolumeConv": volume_conv, "Gemm": gemm, "Activation": activation, "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": global_pool, "Lrn": lrn, "Softmax": softmax, "Flatten": flatten, "Reshape": reshape, "Concat": concat,
    "Binary": binary, "Constant": lambda op: op.tensor.reshape(op.dims), "GlobalMaxPool": global_pool, "ConvTranspose": conv,
    "Transpose": transpose, "Slice": slice_, "Gather": gather, "Pad": pad, "Resize": resize, "Resample": resample,
    "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth, "GridSample": grid_sample, "RoiAlign": roi_align, "ReduceMean": reduce_mean,
    "Expand": lambda op, x: np.broadcast_to(x, broadcast(x.shape, op.dims)), "ArgMax": arg_max, "Where": where, "Reduce": reduce,
    "LogSoftmax": softmax, "MatMul": matmul, "TopK": top_k, "GatherND": gather_nd, "GatherElements": gather_elements,
    "ScatterND": scatter_nd, "ScatterElements": scatter_elements, "Recurrent": recurrent,
    "Sizes": lambda op: np.array(op.elements, np.float32).astype(np.float64).reshape(op.dims),
    "Range": lambda op: (op.start + np.arange(op.count) * op.step).astype(np.float32).astype(np.float64),
}  # fmt: skip


def apply(model, node, op, operands):
    """The node's logical result (section 5): the operator on logical operands, then the constants of removed channels."""
    c = model.graph.values[node.output].compaction
    if op.kind in ("BatchNorm", "InstanceNorm"):
        x = operands[0]
        require(x.ndim >= 2, "R27", f"operand of shape {x.shape}, expected two axes at least")
        kept = np.arange(x.shape[1]) if c is None else c.kept
        scale, shift = (model.blob(b, "R41", len(kept)) for b in (op.scale, op.shift))
        require(c is None or c.logical == x.shape[1], "R23", f"{c and c.logical} channels, the operand is {x.shape}")
        if op.kind == "InstanceNorm":
            within = tuple(range(2, x.ndim))
            x = (x - x.mean(within, keepdims=True)) / np.sqrt(x.var(within, keepdims=True) + op.epsilon)
        y = np.zeros_like(x)
        along = (-1, *[1] * (x.ndim - 2))
        y[:, kept] = x[:, kept] * scale.reshape(along) + shift.reshape(along)
    elif op.kind == "LayerNorm":
        x = operands[0]
        require(op.axis < x.ndim, "R27", f"axis {op.axis} of an operand of shape {x.shape}")
        line = x.shape[op.axis :]
        scale, shift = (model.blob(b, "R51", int(np.prod(line))).reshape(line) for b in (op.scale, op.shift))
        within = tuple(range(op.axis, x.ndim))
        y = (x - x.mean(within, keepdims=True)) / np.sqrt(x.var(within, keepdims=True) + op.epsilon) * scale + shift
    elif op.kind == "GroupNorm":
        x = operands[0]
        require(x.ndim >= 2 and op.groups >= 1 and x.shape[1] % op.groups == 0, "R27", f"{op.groups} groups of an operand of shape {x.shape}")
        scale, shift = (model.blob(b, "R51", x.shape[1]).reshape(-1, *[1] * (x.ndim - 2)) for b in (op.scale, op.shift))
        parts = x.reshape(len(x), op.groups, -1)
        parts = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + op.epsilon)
        y = parts.reshape(x.shape) * scale + shift
    elif op.kind == "ChannelNorm":
        x = operands[0]
        require(x.ndim >= 2, "R27", f"operand of shape {x.shape}, expected two axes at least")
        along = (-1, *[1] * (x.ndim - 2))
        scale, shift = (model.blob(b, "R51", x.shape[1]).reshape(along) for b in (op.scale, op.shift))
        y = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + op.epsilon) * scale + shift
    else:
        y = OPERATORS[op.kind](op, *operands)
    check_size(y.shape)
    require(0 not in y.shape, "section 5", f"a value of shape {y.shape}")
    if op.kind == "Gemm" and any(model.graph.values[v].compaction for v in (node.inputs[0], node.output)):
        require(y.ndim == 2, "R33", f"a compact value of shape {y.shape}")
    if c is not None:
        require(y.ndim >= 2 and y.shape[1] == c.logical, "R23", f"{c.logical} channels, a value of shape {y.shape}")
        y = y.copy()
        removed = np.setdiff1d(np.arange(c.logical), c.kept)
        y[:, removed] = c.constants.reshape(-1, *[1] * (y.ndim - 2))
    return y


def run(model, arrays):
    """All outputs by name, of inputs by name; a single one may have any name."""
    g, dims, values = model.graph, {}, {}
    require(len(g.inputs) == len(arrays), "input", f"the model has {len(g.inputs)} inputs, {len(arrays)} are given")
    for i, given in enumerate(g.inputs):
        name = g.values[given.value].name
        x = arrays[name] if name in arrays else next(iter(arrays.values())) if len(arrays) == 1 else None
        require(x is not None, "input", f"there is no array {name!r}")
        values[given.value] = entering(x, given.dims, model.types.inputs[i] if model.types else "float32", dims)
    for node in g.nodes:
        try:
            op = bound(node.op, dims) if extents_of(node.op) else node.op
            values[node.output] = apply(model, node, op, [values[v] for v in node.inputs])
        except Refused as e:
            raise Refused(f"node {node.name!r} ({node.op.kind}): {e}") from e
    names = model.output_names or [g.values[v].name for v in g.outputs]
    types = model.types.outputs if model.types else ["float32"] * len(names)
    return {name: leaving(values[v], kind) for name, v, kind in zip(names, g.outputs, types)}


def entering(x, dims, kind, symbols):
    """An input as the network computes with it; `symbols` learns what its extents say of symbolic dims."""
    require(len(dims) == x.ndim, "input", f"shape {x.shape}, expected {dims}")
    for dim, extent in zip(dims, x.shape):
        expected = dim if isinstance(dim, int) else symbols.setdefault(dim, extent)
        require(extent == expected >= 1, "input", f"shape {x.shape}, expected {dims}")
    check_size(x.shape)
    require(x.dtype == kind, "input", f"elements of {x.dtype}, expected {kind}")
    if x.dtype.kind in "iu":
        require((np.abs(x.astype(np.float64)) <= 1 << 24).all(), "section 4", "integers beyond 2^24")
    return x.astype(np.float32).astype(np.float64)


def leaving(y, kind):
    """An output as it leaves the network."""
    y = y.astype(np.float32)
    if np.dtype(kind).kind in "iu":
        whole, limits = np.trunc(y), np.iinfo(kind)
        fits = (np.abs(whole) <= 1 << 24) & (whole >= limits.min) & (whole <= limits.max)
        require(fits.all(), "section 4", f"an output of {kind} that is no such integer")
        return whole.astype(kind)
    return y != 0 if kind == "bool" else y.astype(kind)


def run_runtime(ssl_run, model, given):
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder, "y.npz")
        done = subprocess.run([ssl_run, model, "--input", given, "--output", result], capture_output=True, text=True)
        require(done.returncode == 0, ssl_run, done.stderr.strip())
        return dict(np.load(result))


def difference(y, other):
    """The largest one, and the same relative to the largest magnitude."""
    other, y = other.astype(np.float64), y.astype(np.float64)
    differs = (other != y) & ~(np.isnan(other) & np.isnan(y))  # infinities of one sign do not
    largest = float(np.abs(other[differs] - y[differs]).max(initial=0.0))
    return largest, largest / max(1.0, float(np.abs(y[np.isfinite(y)]).max(initial=0.0)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--input", type=pathlib.Path, required=True, help=".npy or .npz: arrays of the inputs' shapes and types")
    parser.add_argument("--output", type=pathlib.Path, help=".npz file for the results, by name")
    parser.add_argument("--compare", action="store_true", help="run ssl-run too, and print the largest difference")
    parser.add_argument("--ssl-run", type=pathlib.Path, default=pathlib.Path("target/release/ssl-run"))
    arguments = parser.parse_args()
    np.seterr(all="ignore")  # NaN and infinities are results like others
    try:
        given = np.load(arguments.input)
        found = run(Model(arguments.model.read_bytes()), dict(given) if arguments.input.suffix == ".npz" else {"": given})
        if arguments.output:
            np.savez(arguments.output, **found)
        if not arguments.compare:
            return 0
        others = run_runtime(arguments.ssl_run.resolve(), arguments.model, arguments.input)
        require(list(others) == list(found), arguments.ssl_run, f"outputs {list(others)}, expected {list(found)}")
        worst = 0.0
        for name, y in found.items():
            other = others[name]
            same = (other.shape, other.dtype) == (y.shape, y.dtype)
            require(same, arguments.ssl_run, f"{name!r}: {other.dtype} {other.shape}, expected {y.dtype} {y.shape}")
            largest, relative = difference(y, other)
            print(f"{name!r}: largest difference {largest:.3g}, relative {relative:.3g}, of {y.size} elements")
            worst = max(worst, relative)
    except (Refused, OSError, MemoryError) as e:
        print(f"sslm_reference: {e}", file=sys.stderr)
        return 2
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""ONNX's own conformance cases, converted and run: what of each operator works, and why the rest does not.

    python tests/scripts/onnx_conformance.py [--bin target/release] [--testdata /usr/share/libonnx-testdata/data]

Needs numpy and onnx, and the tools in --bin. The cases are the single-node ones that the onnx package generates, which cover the
newest version of each operator, and those in --testdata, which cover older ones: the Debian package libonnx-testdata, left out
with a note if it is not installed. Writes docs/onnx-support.md (--doc). Exit code 1 if a case that converts gives wrong results,
is refused by ssl-run, or if a tool crashes.

A test case feeds every input at run time, weights too, which networks store. So the first float32 input stays an input, or the first
one if none is float32, and all others become initialisers with the elements of the test. Operators with equal operands (OPERANDS)
run once for each operand that stays an input, and once with all of them computed: cut out of one flat input by products with 0/1
matrices. A case of several outputs, of which all but the first may be left out, runs once more without those. A case of int64 inputs
alone, or of an operator that computes with what is stored (FOLDED), must fold away: its result is added to an input of zeros. Inputs
and outputs have the types of the case.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

RTOL, ATOL = 1e-3, 1e-5  # |found - expected| <= ATOL + RTOL * |expected|; equal infinities and NaNs are equal
HALF_TOLERANCES = 4e-3, 1e-3  # the same for cases that ONNX computes in float16, with three digits

OPERATORS = """Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil Celu
Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax
Identity If InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad
Pow QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RoiAlign Round ScatterElements ScatterND Selu Shape Shrink
Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh
ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor""".split()
"""What convolutional networks are exported with. What the converter knows beyond these is tested as well."""

OPERANDS = {
    "Add", "Concat", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Pow", "Sub", "Sum",
}

FOLDED = {"If", "NonZero", "Range"}
STORED = {"OneHot": ["depth", "values"]}
"""Operators of which all inputs are stored, and inputs that are."""

ALIGNED = "corners aligned as ONNX's reference evaluator does, not as PyTorch and onnxruntime do"
DEPARTURES = {f"test_resize_downsample_scales_{mode}_align_corners": ALIGNED for mode in ("linear", "cubic")}
"""Cases whose expected elements are deliberately not those of sslm, and why: see Resize in docs/sslm-format.md."""

TYPES = {np.dtype(t) for t in "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 ?".split()}
"""Types of elements that models take and yield."""

Case = collections.namedtuple("Case", "name source operator version model inputs outputs")
Result = collections.namedtuple("Result", "case variant outcome reason")


def single_node(model):
    """The only node of a graph, or None."""
    return model.graph.node[0] if len(model.graph.node) == 1 and not model.graph.node[0].domain else None


def make_case(name, source, model, inputs, outputs):
    opset = next(o.version for o in model.opset_import if not o.domain)
    operator = model.graph.node[0].op_type
    version = onnx.defs.get_schema(operator, max_inclusive_version=opset).since_version
    return Case(name, source, operator, version, model, inputs, outputs)


def generated_cases(operators, others):
    """Those of these operators; `others` counts those of other ones."""
    with warnings.catch_warnings():  # from the generators: casts that overflow on purpose
        warnings.simplefilter("ignore")
        tests = load_model_tests(kind="node")
    for test in tests:
        node = single_node(test.model)
        if node is not None and node.op_type not in operators:
            others[node.op_type] += 1
        elif node is not None:
            array = lambda x: numpy_helper.to_array(x) if isinstance(x, TensorProto) else np.asarray(x) if isinstance(x, np.generic) else x
            inputs, outputs = ([array(x) for x in side] for side in test.data_sets[0])
            yield make_case(test.name, "onnx", test.model, inputs, outputs)


def stored_cases(folder, operators, others):
    def arrays(test, prefix):
        files = sorted(test.glob(f"test_data_set_0/{prefix}_*.pb"), key=lambda f: int(f.stem.rsplit("_", 1)[1]))
        return [numpy_helper.to_array(onnx.TensorProto.FromString(f.read_bytes())) for f in files]

    for path in sorted(folder.rglob("model.onnx")):
        model = onnx.load(path)
        node = single_node(model)
        if node is not None and node.op_type not in operators:
            others[node.op_type] += 1
        elif node is not None:
            try:
                inputs, outputs = arrays(path.parent, "input"), arrays(path.parent, "output")
            except (TypeError, ValueError):  # sequences and optionals are no tensors
                inputs, outputs = [], [None]
            yield make_case(path.parent.name, "testdata", model, inputs, outputs)


def alone(case):
    """The case without the outputs that may be left out; None if there are none."""
    opset = next(o.version for o in case.model.opset_import if not o.domain)
    second = onnx.defs.get_schema(case.operator, max_inclusive_version=opset).outputs[1:2]
    optional = second and second[0].option == onnx.defs.OpSchema.FormalParameterOption.Optional
    if len(case.outputs) == 1 or not optional or not case.model.graph.node[0].output[0]:
        return None
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    del model.graph.node[0].output[1:], model.graph.output[1:]
    return case._replace(model=model, outputs=case.outputs[:1])


def not_applicable(case):
    """Why a case says nothing about a float32 network, or departs from what sslm computes; None if it does neither."""
    if case.name in DEPARTURES:
        return DEPARTURES[case.name]
    if any(i.type.tensor_type.elem_type == TensorProto.BFLOAT16 for i in [*case.model.graph.input, *case.model.graph.output]):
        return "types that arrays of numpy do not have"
    for array in case.outputs:
        if not isinstance(array, np.ndarray) or array.dtype not in TYPES:
            return "types that arrays of numpy do not have"
        if array.size == 0:
            return "empty tensors"
    if not all(isinstance(array, np.ndarray) and array.dtype in TYPES for array in case.inputs):
        return "types that arrays of numpy do not have"
    if any(array.size == 0 for array in case.inputs):
        return "empty tensors"
    if any((np.abs(array[np.isfinite(array)]) > np.finfo(np.float32).max).any() for array in case.inputs if array.dtype == np.float64):
        return "elements that float32 does not hold"
    return None


def variants(case):
    """The sets of inputs to leave as inputs, as (label, names)."""
    names = [i.name for i in case.model.graph.input]
    floats = [name for name, array in zip(names, case.inputs) if array.dtype == np.float32]
    if case.operator in FOLDED or all(array.dtype == np.int64 for array in case.inputs):
        return [("folded", [])]
    if case.operator in STORED:
        return [("", [name for name in names if name not in STORED[case.operator]])]
    if not floats or case.operator == "DequantizeLinear":  # whose scale is float32
        return [("", names[:1])]
    if case.operator not in OPERANDS or len(floats) == 1:
        return [("", floats[:1])]
    # Products with 0/1 matrices would spread what is not finite.
    finite = all(np.isfinite(array).all() for array in case.inputs)
    return [(f"input {name}", [name]) for name in floats] + ([("computed", floats)] if finite else [])


def specialise(case, data, index):
    """The model whose inputs `data` are fed and whose output `index` is asked for, and what to feed."""
    graph = case.model.graph
    feeds = {i.name: array for i, array in zip(graph.input, case.inputs)}
    expected = case.outputs[index]
    constants = list(graph.initializer) + [numpy_helper.from_array(a, n) for n, a in feeds.items() if n not in data]
    nodes, result = list(graph.node), [o.name for o in graph.output][index]
    x = feeds[data[0]] if len(data) == 1 else None
    if x is not None:
        return network(case, nodes, constants, data[0], x, result, expected.dtype), x

    def integers(name, elements):
        constants.append(numpy_helper.from_array(np.array(elements, np.int64), name))
        return name

    total = sum(feeds[name].size for name in data)
    x = np.concatenate([feeds[name].ravel() for name in data] or [np.zeros(expected.size, np.float32)])[None]
    first, before = 0, []
    for name in data:
        part, size = "flat", feeds[name].size
        if len(data) > 1:
            part = f"{name}.part"
            constants.append(numpy_helper.from_array(np.eye(total, size, -first, np.float32), f"{name}.select"))
            before.append(helper.make_node("MatMul", ["flat", f"{name}.select"], [part]))
        before.append(helper.make_node("Reshape", [part, integers(f"{name}.shape", feeds[name].shape)], [name]))
        first += size
    after = []
    if expected.dtype != np.float32:
        after.append(helper.make_node("Cast", [result], ["float"], to=TensorProto.FLOAT))
        result = "float"
    after.append(helper.make_node("Reshape", [result, integers("row", [1, -1])], ["whole.flat"]))
    result = "whole.flat"
    if not data:
        after.append(helper.make_node("Add", ["flat", result], ["sum"]))
        result = "sum"
    return network(case, before + nodes + after, constants, "flat", x, result, np.float32), x


def network(case, nodes, constants, name, x, result, result_type):
    info = lambda name, dtype, shape: helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
    graph = helper.make_graph(nodes, case.name, [info(name, x.dtype, x.shape)], [info(result, result_type, None)], constants)
    return helper.make_model(graph, opset_imports=case.model.opset_import, ir_version=max(4, case.model.ir_version))


def run(*command):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120)


def refusals(stderr):
    """What an error of ssl-convert says, without the names and numbers of the one case."""
    short = []
    for line in re.findall(r"^  - (.*)", stderr, re.M) or re.findall(r"^.*case\.onnx: (.*)", stderr, re.M) or [stderr]:
        line = re.sub(r"^node '[^']*' \(\w+\): ", "", line)
        line = re.sub(r"(operator \w+ is not supported):.*", r"\1", line)
        line = line if line.startswith("opset") else re.sub(r", found .*", "", line)
        short.append(re.sub(r" ?'[^']*'", "", line).removeprefix(": "))
    return "; ".join(sorted(set(short)))


def check(case, label, data, binaries):
    """The result of one variant: every output, compact and dense."""
    result = lambda outcome, reason="": Result(case, label, outcome, reason)
    for index, expected in enumerate(case.outputs):
        model, x = specialise(case, data, index)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            onnx.save(model, folder / "case.onnx")
            np.save(folder / "x.npy", np.asarray(x, order="C"))
            for flags in ([], ["--dense"]):
                done = run(binaries / "ssl-convert", folder / "case.onnx", "-o", folder / "case.sslm", *flags)
                if done.returncode == 2:
                    return result("not supported", refusals(done.stderr))
                if done.returncode != 0:
                    return result("failed", f"ssl-convert ends with {done.returncode}: {done.stderr}")
                done = run(binaries / "ssl-run", folder / "case.sslm", "--input", folder / "x.npy", "--output", folder / "y.npy")
                if done.returncode != 0:
                    return result("failed", f"ssl-run ends with {done.returncode}: {done.stderr}")
                y = np.load(folder / "y.npy")
                wanted = expected
                if model.graph.input[0].name == "flat":
                    wanted = expected.astype(np.float32).reshape(1, -1)
                if (y.shape, y.dtype) != (wanted.shape, wanted.dtype):
                    return result("failed", f"{y.dtype} {y.shape}, expected {wanted.dtype} {wanted.shape}")
                y, wanted = y.astype(np.float64), wanted.astype(np.float64)
                half = any(array.dtype == np.float16 for array in [*case.inputs, *case.outputs])
                if not np.allclose(y, wanted, *(HALF_TOLERANCES if half else (RTOL, ATOL)), equal_nan=True):
                    return result("failed", f"wrong by up to {np.nanmax(np.abs(y - wanted)):.3g} {''.join(flags)}")
    return result("passed")


def known_operators(binaries):
    """The operators that the converter names when it meets one that it does not know."""
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("NoSuchOperator", ["x"], ["y"])
    graph = helper.make_graph([node], "unknown", [info], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "unknown.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
        stderr = run(binaries / "ssl-convert", path, "-o", path.with_suffix(".sslm")).stderr
    return set(re.search(r"^Supported operators: (.*)$", stderr, re.M)[1].split(", "))


def document(results, known, sources, others):
    """docs/onnx-support.md."""
    lines = [
        "# ONNX support",
        "",
        f"Generated by `python tests/scripts/onnx_conformance.py` with onnx {onnx.__version__}; do not edit. Cases: {sources}.",
        "",
        "Every row counts ONNX's own single-node test cases of an operator. *Passed*: the case was converted, compact and with",
        f"`--dense`, and ssl-run's output is the expected one (`|found - expected| <= {ATOL:g} + {RTOL:g} * |expected|`). *Refused*:",
        "ssl-convert says that it cannot convert it, and why; it never converts to something wrong. Weights are initialisers; an",
        "operator with several equal operands counts once for each operand that is the network's input, and once where all of them",
        "are computed; a case with outputs that may be left out counts once with and once without them. Inputs and outputs have the",
        f"types of the case; float16 is computed in float32, to {HALF_TOLERANCES[1]:g} + {HALF_TOLERANCES[0]:g} * |expected|. Integers are computed in float32, too: [what that means](numerics.md#integers). *Versions* are those of the operator, by the opset that introduced them.",
        "",
        "| operator | versions passed | passed | refused | why refused (cases) |",
        "|---|---|---:|---:|---|",
    ]
    by_operator = collections.defaultdict(list)
    for r in results:
        by_operator[r.case.operator].append(r)
    for operator in sorted(known | set(OPERATORS)):
        mine = by_operator[operator]
        passed = [r for r in mine if r.outcome == "passed"]
        versions = ", ".join(str(v) for v in sorted({r.case.version for r in passed})) or "none"
        refused = collections.Counter(r.reason for r in mine if r.outcome == "not supported")
        if operator in known:
            why = "; ".join(f"{reason} ({count})" for reason, count in refused.most_common())
        else:
            why = "the operator is not supported"
        lines.append(f"| {operator} | {versions} | {len(passed)} | {refused.total()} | {why.replace('|', '/')} |")
    tally = collections.Counter(r.outcome for r in results)
    skipped = collections.Counter(r.reason for r in results if r.outcome == "not applicable")
    skipped = ", ".join(f"{reason} {count}" for reason, count in skipped.most_common())
    run = tally["passed"] + tally["failed"] + tally["not supported"]
    lines += [
        "",
        f"In all {tally['passed']} passed, {tally['failed']} failed, {tally['not supported']} refused"
        f" ({tally['not supported'] / run:.1%} of {run}). {tally['not applicable']} more cases of these operators are left out: {skipped}.",
        "",
        "Operators outside of this list are refused by name, those with cases of one node (and how many) being "
        + ", ".join(f"{name} ({count})" for name, count in sorted(others.items()))
        + ".",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("target/release"))
    parser.add_argument("--testdata", type=pathlib.Path, default=pathlib.Path("/usr/share/libonnx-testdata/data"))
    parser.add_argument("--doc", type=pathlib.Path, default=pathlib.Path("docs/onnx-support.md"))
    parser.add_argument("--verbose", action="store_true", help="print refused cases, too")
    arguments = parser.parse_args()
    known = known_operators(arguments.bin)
    operators = known | set(OPERATORS)
    others = collections.Counter()
    cases = list(generated_cases(operators, others))
    sources = f"{len(cases)} that the package generates"
    if arguments.testdata.is_dir():
        stored = list(stored_cases(arguments.testdata, operators, others))
        sources += f", {len(stored)} of Debian's libonnx-testdata"
        cases += stored
    else:
        sources += "; without Debian's libonnx-testdata (older versions)"
        print(f"{arguments.testdata} does not exist (Debian package libonnx-testdata): older operator versions are left out")
    results, work = [], []
    for case in cases + [c for c in map(alone, cases) if c]:
        reason = not_applicable(case)
        if reason is None:
            work += [(case, label, data, arguments.bin) for label, data in variants(case)]
        else:
            results.append(Result(case, "", "not applicable", reason))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results += pool.map(lambda item: check(*item), work)
    for r in results:
        if r.outcome == "failed" or (arguments.verbose and r.outcome == "not supported"):
            print(f"{r.outcome}: {r.case.source} {r.case.name} {r.variant}: {r.reason.strip()}")
    arguments.doc.write_text(document(results, known, sources, others))
    tally = collections.Counter(r.outcome for r in results)
    print(", ".join(f"{tally[o]} {o}" for o in ("passed", "failed", "not supported", "not applicable")))
    return 1 if tally["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

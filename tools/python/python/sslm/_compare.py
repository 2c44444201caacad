"""Which tensor goes wrong: a model tensor by tensor beside onnxruntime."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sslm._certificate import convert
from sslm._errors import Error, exception
from sslm._model import Model
from sslm._table import Table


@dataclass(frozen=True)
class Row:
    """How a tensor compares."""

    name: str
    op: str
    """What computes it; `output` of the .sslm model's own outputs."""
    shape: tuple[int, ...] | None
    max_abs: float | None
    """The largest difference; infinite where only one of two elements is a number, or shapes differ."""
    max_relative: float | None
    """The same, relative to the largest element that onnxruntime found."""
    differs: bool
    note: str = ""
    """Why it could not be compared."""


class Comparison:
    """What `compare` found. `first` is the first tensor that differs, in the order in which they are computed."""

    def __init__(self, rows: list[Row], tolerance: float):
        self.rows = rows
        self.tolerance = tolerance

    @property
    def first(self) -> Row | None:
        """The first tensor that differs."""
        return next((row for row in self.rows if row.differs), None)

    @property
    def agrees(self) -> bool:
        """Whether none differs."""
        return self.first is None

    def _table(self) -> Table:
        number = lambda x: "-" if x is None else f"{x:.1e}"
        rows = [
            [
                row.name,
                row.op,
                "-" if row.shape is None else list(row.shape),
                number(row.max_abs),
                number(row.max_relative),
                "differs" if row.differs else row.note or "same",
            ]
            for row in self.rows
        ]
        compared = sum(row.max_abs is not None for row in self.rows)
        note = f"{compared} tensors are the same within {self.tolerance:.1e} of the largest element"
        if self.first:
            note = f"the first that differs: '{self.first.name}', of {self.first.op}"
        return Table(["tensor", "op", "shape", "largest difference", "relative", ""], 2, rows, [note])

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()


def compare(onnx_model: Any, sslm_model: Any, x: Any, *, zero_tol: float = 0.0, tolerance: float = 1e-4) -> Comparison:
    """Compare a converted model with its original on `x` (an array, several, or a dict by name), tensor by tensor beside onnxruntime.

    A .sslm file has no longer all tensors of the original: layers were folded into each other and channels removed. So the ONNX model is
    converted once more with every intermediate tensor of floats as an output, and these are compared with what onnxruntime computes
    without its optimisations; after them come the outputs of `sslm_model` itself. If only these differ, the model is cut at one tensor
    after the other, so that all before it is compact as in the file, until one differs. `zero_tol` is that of the conversion.

    Needs the packages onnx and onnxruntime.
    """
    import onnx

    proto = onnx_model
    if isinstance(onnx_model, (bytes, bytearray, memoryview)):
        proto = onnx.load_from_string(bytes(onnx_model))
    elif not isinstance(onnx_model, onnx.ModelProto):
        proto = onnx.load(os.fspath(onnx_model))
    model = sslm_model if isinstance(sslm_model, Model) else Model(sslm_model)
    inputs = _feed(model, x)
    makers = {
        name: node.op_type for node in proto.graph.node for name in node.output if name and node.op_type != "Constant"
    }
    own = [output.name for output in proto.graph.output]
    expected = _onnxruntime(proto, [name for name in makers if name not in own], inputs)
    floats = [name for name in makers if name not in own and expected[name].dtype == np.float32]

    found = _converted(onnx_model, floats, inputs, zero_tol)
    rows = [_row(name, makers[name], expected[name], found[name], tolerance) for name in floats]
    answers = model(inputs)
    answers = answers if isinstance(answers, dict) else {model.outputs[0].name: answers}
    last = [_row(name, "output", expected[name], answers[name], tolerance) for name in own if name in answers]
    if any(row.differs for row in last) and not any(row.differs for row in rows):
        for i, name in enumerate(floats):
            alone = _converted(onnx_model, [name], inputs, zero_tol)[name]
            rows[i] = _row(name, makers[name], expected[name], alone, tolerance)
            if rows[i].differs:
                break
    return Comparison([*rows, *last], tolerance)


def _feed(model: Model, x: Any) -> dict[str, np.ndarray]:
    """Inputs by name."""
    names = [info.name for info in model.inputs]
    if isinstance(x, dict):
        return {name: np.asarray(value) for name, value in x.items()}
    arrays = x if isinstance(x, (tuple, list)) else [x]
    if len(arrays) != len(names):
        raise exception("input", f"inputs: expected {len(names)}, found {len(arrays)}")
    return {name: np.asarray(value) for name, value in zip(names, arrays)}


def _onnxruntime(proto: Any, names: Iterable[str], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What onnxruntime computes for these tensors and the model's outputs."""
    import onnx
    import onnxruntime

    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    all_names = [output.name for output in session.get_outputs()]
    return dict(zip(all_names, session.run(all_names, inputs)))


def _converted(
    source: Any, names: list[str], inputs: dict[str, np.ndarray], zero_tol: float
) -> dict[str, np.ndarray | str]:
    """What a model that ends at these tensors yields; why not, where it cannot be converted or run."""
    if not names:
        return {}
    try:
        model = Model(convert(source, outputs=names, verify=0, zero_tol=zero_tol, force=True).sslm)
        found = model({info.name: inputs[info.name] for info in model.inputs})
        return found if isinstance(found, dict) else {names[0]: found}
    except Error as error:
        if len(names) == 1:
            return {names[0]: str(error)}
    half = len(names) // 2
    parts = (_converted(source, part, inputs, zero_tol) for part in (names[:half], names[half:]))
    return {name: value for part in parts for name, value in part.items()}


def _row(name: str, op: str, expected: np.ndarray, found: np.ndarray | str, tolerance: float) -> Row:
    if isinstance(found, str):
        return Row(name, op, None, None, None, False, found)
    if found.shape != expected.shape:
        return Row(name, op, expected.shape, np.inf, np.inf, True)
    e, f = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        all_apart = np.where((e == f) | (np.isnan(e) & np.isnan(f)), 0.0, np.abs(e - f))
    apart = float(np.nan_to_num(all_apart, nan=np.inf, posinf=np.inf).max(initial=0.0))
    largest = float(np.abs(e[np.isfinite(e)]).max(initial=0.0))
    relative = 0.0 if apart == 0.0 else apart / largest if largest else np.inf
    return Row(name, op, expected.shape, apart, relative, not relative <= tolerance)

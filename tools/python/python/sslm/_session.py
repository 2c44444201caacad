"""What onnxruntime calls an inference session, so that code written for it moves over by one import."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sslm._errors import exception
from sslm._model import Model, TensorInfo

_TYPES = {"float32": "float", "float64": "double"}
"""Types that onnxruntime calls otherwise than NumPy."""


class NodeArg(NamedTuple):
    """An input or output, as onnxruntime describes it."""

    name: str
    shape: list[int | str]
    type: str


class InferenceSession:
    """Runs a .sslm or an .onnx model (which is made compact first), given as a path or as bytes.

    Of `sess_options`, as onnxruntime has them, `intra_op_num_threads` counts. `providers` changes nothing: the CPU computes.
    """

    def __init__(
        self,
        path_or_bytes: str | os.PathLike[str] | bytes,
        sess_options: Any = None,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Any] | None = None,
    ):
        threads = getattr(sess_options, "intra_op_num_threads", 0)
        self.model = Model(path_or_bytes, threads=threads or None)
        """The model that it runs."""
        self._inputs = self.model.inputs
        self._outputs = self.model.outputs
        self._names = [info.name for info in self._outputs]

    def get_inputs(self) -> list[NodeArg]:
        """What the model takes."""
        return list(map(_node_arg, self._inputs))

    def get_outputs(self) -> list[NodeArg]:
        """What it yields."""
        return list(map(_node_arg, self._outputs))

    def get_providers(self) -> list[str]:
        """What computes it, in onnxruntime's words."""
        return ["CPUExecutionProvider"]

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: Any = None
    ) -> list[np.ndarray]:
        """The outputs of these names, or all of them."""
        names = self._names if output_names is None or len(output_names) == 0 else output_names
        for name in names:
            if name not in self._names:
                raise exception("input", f"outputs: expected {', '.join(map(repr, self._names))}, found {name!r}")
        found = self.model(dict(input_feed))
        outputs = found if isinstance(found, dict) else {self._names[0]: found}
        return [outputs[name] for name in names]


def _node_arg(info: TensorInfo) -> NodeArg:
    return NodeArg(info.name, info.shape, f"tensor({_TYPES.get(info.dtype, info.dtype)})")

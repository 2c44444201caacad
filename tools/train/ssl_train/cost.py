"""How long a pruned network takes, from times that were measured with the runtime.

Multiply-accumulates say little about time: the runtime computes a layer by another method when less of it is left,
and columns that go by whole channels save more than scattered ones. So each layer is timed at several kept fractions
of filters and columns, in both forms. In between, the logarithm of the time is interpolated bilinearly over the
logarithms of the fractions; below the smallest fraction nothing more is promised.
"""

import math
import tempfile
from bisect import bisect
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from ssl_train.export import export
from ssl_train.groups import CONVOLUTIONS
from ssl_train.sslm import Layer, Structure, Tools

FRACTIONS = (0.0625, 0.125, 0.25, 0.5, 1.0)
RUNS = 100
"""Runs of which the median is taken."""

Grid = list[list[float]]
"""Times in ms by kept fraction of filters (outer) and of columns (inner), as in `FRACTIONS`."""


@dataclass(frozen=True)
class LayerCost:
    """One layer's times."""

    scattered: Grid
    channels: Grid
    """The same fractions of columns, as whole channels."""

    def at(self, layer: Layer) -> float:
        """ms for what is left of the layer."""
        if layer.removed:
            return 0.0
        filters, channels, columns = (
            kept / original for kept, original in (layer.filters, layer.channels, layer.columns)
        )
        # Whole channels, as far as whole channels go.
        grid = self.channels if math.isclose(channels, columns, rel_tol=0.05) else self.scattered
        return interpolate(grid, filters, columns)


@dataclass(frozen=True)
class CostModel:
    """A network's times."""

    layers: dict[str, LayerCost]
    rest: float
    """ms of everything that is neither a convolution nor a linear layer, dense."""

    def ms(self, structure: Structure) -> float:
        """One image, one thread."""
        return self.rest + sum(self.layers[name].at(layer) for name, layer in structure.layers.items())

    def speedup(self, structure: Structure) -> float:
        """Over the dense network."""
        dense = self.rest + sum(cost.channels[-1][-1] for cost in self.layers.values())
        return dense / self.ms(structure)


def interpolate(grid: Grid, filters: float, columns: float) -> float:
    """The time at these kept fractions."""

    def place(fraction: float) -> tuple[int, float]:
        fraction = min(max(fraction, FRACTIONS[0]), 1.0)
        low = min(bisect(FRACTIONS, fraction) - 1, len(FRACTIONS) - 2)
        return low, math.log(fraction / FRACTIONS[low]) / math.log(FRACTIONS[low + 1] / FRACTIONS[low])

    (i, u), (j, v) = place(filters), place(columns)
    corners = (((1 - u) * (1 - v), i, j), ((1 - u) * v, i, j + 1), (u * (1 - v), i + 1, j), (u * v, i + 1, j + 1))
    return math.exp(sum(part * math.log(grid[a][b]) for part, a, b in corners))


def measure(model: nn.Module, input_shape: tuple[int, int, int], tools: Tools) -> CostModel:
    """Time the dense network and every layer of it; layers of the same shape once."""
    shapes = {}
    hooks = [
        module.register_forward_hook(lambda _, given, __, name=name: shapes.__setitem__(name, tuple(given[0].shape)))
        for name, module in model.named_modules()
        if isinstance(module, (*CONVOLUTIONS, nn.Linear))
    ]
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, *input_shape, device=next(model.parameters()).device))
    for hook in hooks:
        hook.remove()
    layers, known = {}, {}
    for name, shape in shapes.items():
        module = model.get_submodule(name)
        key = (shape, repr(module))
        if key not in known:
            known[key] = LayerCost(*(_time(module, shape, whole, tools) for whole in (False, True)))
        layers[name] = known[key]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dense.onnx")
        export(model, path, input_shape)
        tools.convert(path, path.with_suffix(".sslm"), "--dense", "--verify", 0)
        steps = tools.bench(path.with_suffix(".sslm"), RUNS)["layers"]
    return CostModel(layers, sum(step["median_ms"] for step in steps if not step["macs"]))


def _time(module: nn.Module, shape: tuple[int, ...], whole_channels: bool, tools: Tools) -> Grid:
    """One layer at all fractions: copies with different masks side by side in one network, timed in turns."""
    random = np.random.default_rng(0)
    nodes, weights, outputs = [], [], []
    original = tuple(module.weight.shape)
    groups = getattr(module, "groups", 1)
    for i, filters in enumerate(FRACTIONS):
        for j, columns in enumerate(FRACTIONS):
            weight = random.standard_normal(original).astype(np.float32)
            weight *= _kept(original[0], filters, random).reshape(-1, *[1] * (len(original) - 1))
            taps = original[1:2] if whole_channels else original[1:]
            mask = np.stack([_kept(math.prod(taps), columns, random).reshape(taps) for _ in range(groups)])
            mask = mask.repeat(original[0] // groups, 0)
            weight *= mask.reshape(*mask.shape, *[1] * (len(original) - mask.ndim))
            name = f"{i}_{j}"
            weights.append(numpy_helper.from_array(weight, f"w{name}"))
            outputs.append(helper.make_tensor_value_info(f"y{name}", TensorProto.FLOAT, None))
            if isinstance(module, nn.Linear):
                nodes.append(helper.make_node("Gemm", ["x", f"w{name}"], [f"y{name}"], name, transB=1))
                continue
            nodes.append(
                helper.make_node(
                    "Conv",
                    ["x", f"w{name}"],
                    [f"y{name}"],
                    name,
                    kernel_shape=module.kernel_size,
                    strides=module.stride,
                    pads=[*module.padding, *module.padding],
                    dilations=module.dilation,
                    group=groups,
                )
            )
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "layer", [given], outputs, weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "layer.onnx")
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        tools.convert(path, path.with_suffix(".sslm"), "--verify", 0)
        steps = tools.bench(path.with_suffix(".sslm"), RUNS)["layers"]
    times = {step["name"]: step["median_ms"] for step in steps if step["macs"]}
    return [[times[f"{i}_{j}"] for j in range(len(FRACTIONS))] for i in range(len(FRACTIONS))]


def _kept(count: int, fraction: float, random: np.random.Generator) -> np.ndarray:
    """float32 [count]: ones at random places, zeros elsewhere."""
    mask = np.zeros(count, np.float32)
    mask[random.permutation(count)[: max(1, round(fraction * count))]] = 1
    return mask

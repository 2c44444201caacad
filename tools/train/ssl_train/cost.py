"""How long a pruned network takes, from times that were measured with the runtime.

Multiply-accumulates say little about time: the runtime computes a layer by another method when less of it is left,
and columns that go by whole channels save more than scattered ones. So each layer is timed at several kept fractions
of filters and columns, in both forms. In between, the logarithm of the time is interpolated bilinearly over the
logarithms of the fractions; below the smallest fraction nothing more is promised.
"""

import math
import tempfile
from bisect import bisect
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ssl_train.export import export
from ssl_train.groups import CONVOLUTIONS
from ssl_train.sslm import Layer, Structure, Tools

FRACTIONS = (0.0625, 0.125, 0.25, 0.5, 1.0)
RUNS = 100
"""Runs of which the median is taken."""
MOST_BYTES = 2**28
"""Weights that are timed in one network."""

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
        return self.rest + sum(cost.at(structure.layers[name]) for name, cost in self.layers.items())

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
            scattered = _time(module, shape, False, tools)
            linear = isinstance(module, nn.Linear)
            known[key] = LayerCost(scattered, scattered if linear else _time(module, shape, True, tools))
        layers[name] = known[key]
    steps = _bench(model, input_shape, tools, dense=True)
    return CostModel(layers, sum(step["median_ms"] for step in steps if not step["macs"]))


def _bench(model: nn.Module, input_shape: tuple[int, ...], tools: Tools, dense: bool = False) -> list[dict]:
    """The runtime's steps, timed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        export(model, path, input_shape)
        tools.convert(path, path.with_suffix(".sslm"), dense=dense, verify=False)
        return tools.bench(path.with_suffix(".sslm"), RUNS)["layers"]


class _SideBySide(nn.Module):
    """Copies of a layer that read the same input."""

    def __init__(self, copies: dict[str, nn.Module]):
        super().__init__()
        self.copies = nn.ModuleDict(copies)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([copy(x).flatten(1) for copy in self.copies.values()], 1)


def _time(module: nn.Module, shape: tuple[int, ...], whole_channels: bool, tools: Tools) -> Grid:
    """One layer at all fractions: copies with different masks, as many as fit side by side in one network, where they
    are timed in turns."""
    places = [(i, j) for i in range(len(FRACTIONS)) for j in range(len(FRACTIONS))]
    size = 4 * module.weight.numel()
    together = max(1, MOST_BYTES // size)
    grid = [[0.0] * len(FRACTIONS) for _ in FRACTIONS]
    for chunk in (places[start : start + together] for start in range(0, len(places), together)):
        copies = {f"at_{i}_{j}": _masked(module, FRACTIONS[i], FRACTIONS[j], whole_channels) for i, j in chunk}
        steps = _bench(_SideBySide(copies), shape[1:], tools)
        times = {step["name"].strip("/").split("/")[0]: step["median_ms"] for step in steps}
        for i, j in chunk:
            grid[i][j] = times[f"at_{i}_{j}"]
    return grid


@torch.no_grad()
def _masked(module: nn.Module, filters: float, columns: float, whole_channels: bool) -> nn.Module:
    """A copy that keeps these fractions, at random places."""
    copy = deepcopy(module).cpu()
    copy.weight.normal_()  # a trained layer may have zeros of its own
    groups = getattr(module, "groups", 1)
    outputs, *taps = copy.weight.shape
    copy.weight.mul_(_kept([outputs], filters).view(-1, *[1] * len(taps)))
    columns = torch.stack([_kept(taps[:1] if whole_channels else taps, columns) for _ in range(groups)])
    columns = columns.repeat_interleave(outputs // groups, 0)
    copy.weight.mul_(columns.view(*columns.shape, *[1] * (1 + len(taps) - columns.ndim)))
    return copy


def _kept(shape: list[int], fraction: float) -> torch.Tensor:
    """Ones at random places, zeros elsewhere."""
    mask = torch.zeros(math.prod(shape))
    mask[torch.randperm(len(mask))[: max(1, round(fraction * len(mask)))]] = 1
    return mask.view(shape)

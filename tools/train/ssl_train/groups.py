"""Which weights of a layer live and die together.

Everything else in the package asks this module what a group is, so that the penalty, the proximal step and the cut
can never disagree about it.

The weight of a convolution or linear layer is seen as `[g, O/g, I/g, *kernel]`, with g the groups of a grouped
convolution (1 otherwise) and no kernel axes for linear layers. A kind is the set of those axes that one group spans.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod

import torch
from torch import nn

from ssl_train.errors import SslError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

KINDS = {
    "shape": (CONVOLUTIONS, "one tap of one channel: a column of the lowered weight matrix, per conv group"),
    "channel": (CONVOLUTIONS, "everything that reads one input channel"),
    "filter": (CONVOLUTIONS, "one output filter: a row of the lowered weight matrix"),
    "input": (nn.Linear, "everything that reads one input of a linear layer"),
    "neuron": (nn.Linear, "everything that one neuron of a linear layer reads"),
    "layer": ((*CONVOLUTIONS, nn.Linear), "the whole weight of a layer"),
    "scale": (BATCHNORMS, "the scale of a BatchNorm, and with it the layer before"),
    "weight": ((*CONVOLUTIONS, nn.Linear), "a single weight: group Lasso becomes plain l1"),
}
"""Kinds of groups, in the order in which their proximal steps are taken: what they apply to and what they span."""

WHOLE = {"layer", "scale"}
"""Kinds with one group for each layer."""


@dataclass(frozen=True)
class GroupSpec:
    """One family of disjoint groups that together cover the weight of a layer."""

    layer: str
    """Name of the module, as in `model.named_modules()`."""
    kind: str
    """A key of `KINDS`."""
    strength: float = 1.0
    """Factor of lambda for these groups."""
    keep: int = 0
    """Once at most this many groups are alive, the dead ones stay dead, and no other dies. 0: no limit."""
    reweighted: bool = False
    """Whether lambda is divided by each group's norm, relative to the largest of its family: the small ones go, and the
    large ones are spared."""

    @property
    def family(self) -> object:
        """Equal for specs whose groups are compared with each other: whole layers with whole layers."""
        return self.kind if self.kind in WHOLE else (self.layer, self.kind)


class Groups:
    """A `GroupSpec` bound to the layer that it speaks of."""

    def __init__(self, model: nn.Module, spec: GroupSpec):
        self.spec = spec
        self.module = model.get_submodule(spec.layer)
        types, _ = KINDS[spec.kind]
        if not isinstance(self.module, types):
            raise SslError(f"{spec.layer}: a {type(self.module).__name__} has no groups of kind {spec.kind}")
        kernel = tuple(range(3, self.weight.ndim + 1))
        self._dims = {
            "shape": (1,),
            "channel": (1, *kernel),
            "filter": (2, *kernel),
            "input": (1,),
            "neuron": (2,),
            "layer": (0, 1, 2, *kernel),
            "scale": (0, 1),
            "weight": (),
        }[spec.kind]

    @property
    def weight(self) -> nn.Parameter:
        return self.module.weight

    def _view(self, weight: torch.Tensor) -> torch.Tensor:
        """`weight` as [g, O/g, I/g, *kernel]; shares its memory."""
        return weight.unflatten(0, (getattr(self.module, "groups", 1), -1))

    @property
    def size(self) -> int:
        """Weights in one group."""
        shape = self._view(self.weight).shape
        return prod(shape[dim] for dim in self._dims)

    def __len__(self) -> int:
        return self.weight.numel() // self.size

    def norms(self) -> torch.Tensor:
        """Euclidean norm of every group, float [g or 1, O/g or 1, I/g or 1, ...]: broadcasts against the view."""
        view = self._view(self.weight)
        return torch.linalg.vector_norm(view, dim=self._dims, keepdim=True) if self._dims else view.abs()

    @torch.no_grad()
    def scale(self, factors: torch.Tensor) -> None:
        """Multiply every group by its factor, shaped as `norms`, in place."""
        self._view(self.weight).mul_(factors)

    def mask(self, alive: torch.Tensor) -> torch.Tensor:
        """bool, shaped as the weight, from one bool per group, shaped as `norms`."""
        return alive.expand_as(self._view(self.weight)).flatten(0, 1)

    def kept(self, mask: torch.Tensor) -> torch.Tensor:
        """Which groups a mask (bool, shaped as the weight) leaves something of: bool, shaped as `norms`."""
        view = self._view(mask)
        return view.any(self._dims, keepdim=True) if self._dims else view


def group_specs(
    model: nn.Module,
    strengths: Mapping[str, float],
    layers: Mapping[str, Mapping[str, float]] | None = None,
    keep: Mapping[str, Mapping[str, int]] | None = None,
    sqrt_size: bool = False,
    reweighted: bool = False,
) -> list[GroupSpec]:
    """Groups of the given kinds for every layer of `model` that has such groups.

    `strengths`: kind to strength, for all layers. `layers`: glob of module names to {kind: factor of the strength};
    later entries win, and factor 0 leaves a layer's groups out. `keep`: module name to {kind: `GroupSpec.keep`}.
    `sqrt_size` multiplies each strength by the root of the group's size, as in the usual group Lasso; the paper does
    not. `reweighted`: see `GroupSpec`. A layer with a single group of a kind not in `WHOLE` has none of that kind: it would be the whole layer.

    # Errors
    `SslError` for kinds and layers that do not exist.
    """
    layers, keep = layers or {}, keep or {}
    for kind in {*strengths, *(kind for value in [*layers.values(), *keep.values()] for kind in value)}:
        if kind not in KINDS:
            raise SslError(f"groups: expected kinds among {', '.join(KINDS)}, found {kind}")
    modules = dict(model.named_modules())
    for pattern in [*layers, *keep]:
        if not any(fnmatchcase(name, pattern) for name in modules):
            raise SslError(f"groups: no layer of the model is called {pattern}")
    specs = []
    for name, module in modules.items():
        for kind, (types, _) in KINDS.items():
            if kind not in strengths or not isinstance(module, types):
                continue
            factors = [value[kind] for pattern, value in layers.items() if fnmatchcase(name, pattern) and kind in value]
            strength = strengths[kind] * (factors[-1] if factors else 1.0)
            groups = Groups(model, GroupSpec(name, kind))
            if strength == 0 or (len(groups) == 1 and kind not in WHOLE):
                continue
            root = groups.size**0.5 if sqrt_size else 1.0
            specs.append(GroupSpec(name, kind, strength * root, keep.get(name, {}).get(kind, 0), reweighted))
    return specs

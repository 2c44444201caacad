"""Which filters and columns of each convolution are alive, and how to cut the rest.

SSL leaves some groups exactly zero and others merely tiny. A cut decides once
and for all which groups go; the masks then hold them at zero through
fine-tuning. A mask always is (kept filters) x (kept columns), which is what
makes the pruned layer a smaller dense matrix.
"""

from dataclasses import dataclass

import torch
from torch import nn

from ssl_train.groups import FILTER, SHAPE


@dataclass
class Kept:
    """Live groups of one convolution."""

    filters: torch.Tensor
    """bool [filters]"""
    columns: torch.Tensor
    """bool [input channels, kernel height, kernel width]"""

    @property
    def channels(self) -> torch.Tensor:
        """bool [input channels]: those with at least one live column."""
        return self.columns.flatten(1).any(1)

    @property
    def mask(self) -> torch.Tensor:
        """bool, the OIHW shape of the weight."""
        return self.filters[:, None, None, None] & self.columns

    def summary(self) -> dict:
        """Counts and positions, ready for JSON; a column's index runs over (channel, kh, kw)."""
        return {
            "filters": int(self.filters.sum()),
            "filters_total": self.filters.numel(),
            "channels": int(self.channels.sum()),
            "channels_total": self.channels.numel(),
            "columns": int(self.columns.sum()),
            "columns_total": self.columns.numel(),
            "kept_filters": self.filters.nonzero().flatten().tolist(),
            "kept_columns": self.columns.flatten().nonzero().flatten().tolist(),
        }


Structure = dict[str, Kept]
"""Live groups by convolution name."""


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The model's convolutions by name, in order of definition."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


@torch.no_grad()
def live(model: nn.Module, relative: float = 0.0) -> Structure:
    """Groups whose norm exceeds `relative` times the largest of their kind in their layer.

    With `relative` 0 that is every group that is not exactly zero. Consequences
    are followed: a filter that is gone takes its channel out of the consumer
    (`model.links`), and a channel that nobody reads takes its filter along.
    """
    structure = {}
    for name, conv in convolutions(model).items():
        filters = FILTER.norms(conv.weight).flatten()
        columns = SHAPE.norms(conv.weight)[0]
        structure[name] = Kept(
            filters > relative * filters.max(), columns > relative * columns.max()
        )
    for producer, consumer in model.links:
        both = structure[producer].filters & structure[consumer].channels
        structure[producer].filters = both
        structure[consumer].columns &= both[:, None, None]
    return structure


@torch.no_grad()
def apply(model: nn.Module, structure: Structure) -> None:
    """Set every weight outside the structure to zero. Biases are in no group and stay as they are."""
    for name, conv in convolutions(model).items():
        conv.weight.masked_fill_(~structure[name].mask, 0.0)


def describe(structure: Structure) -> str:
    """One short line for progress: `conv1 5 filters 9/25 columns, conv2 ...`."""
    return ", ".join(
        f"{name} {int(kept.filters.sum())}/{kept.filters.numel()} filters "
        f"{int(kept.columns.sum())}/{kept.columns.numel()} columns"
        for name, kept in structure.items()
    )


def collapsed(structure: Structure) -> list[str]:
    """Names of the convolutions of which nothing is left."""
    return [name for name, kept in structure.items() if not kept.mask.any()]

"""Which weights stay zero for good."""

import torch
from torch import nn


class Masks(dict[str, torch.Tensor]):
    """By layer name, bool shaped as the layer's weight; false stays zero. Layers without a mask are left alone.

    Biases have no mask: a filter of zeros still emits its bias, a constant, which `ssl-convert` folds into the layers
    behind it. For the same reason a dead filter need not be masked where it is read, nor one that nobody reads where
    it is made.
    """

    def restrict(self, layer: str, mask: torch.Tensor) -> None:
        """Keep only what `mask` keeps, too."""
        self[layer] = self[layer] & mask if layer in self else mask

    def to(self, device: torch.device) -> "Masks":
        """The same masks where the model is."""
        return Masks({layer: mask.to(device) for layer, mask in self.items()})

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Make the masked weights of `model` exactly zero."""
        for layer, mask in self.items():
            model.get_submodule(layer).weight.masked_fill_(~mask, 0.0)

"""Which weights of a convolution live and die together.

Everything else in the package asks this module what a group is, so that the
penalty, the proximal step and the cut can never disagree about it. Weights are
`OIHW`: [filters, input channels, kernel height, kernel width].
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class GroupSpec:
    """One family of disjoint groups that together cover a convolution's weight."""

    name: str
    dims: tuple[int, ...]
    """Axes of the OIHW weight that a single group spans."""

    def norms(self, weight: torch.Tensor) -> torch.Tensor:
        """Euclidean norm of every group, shaped to broadcast against `weight`."""
        return torch.linalg.vector_norm(weight, dim=self.dims, keepdim=True)


FILTER = GroupSpec("filter", (1, 2, 3))
"""One output filter, W[n,:,:,:]: a row of the lowered weight matrix."""

CHANNEL = GroupSpec("channel", (0, 2, 3))
"""One input channel, W[:,c,:,:]: kh*kw columns of the lowered weight matrix."""

SHAPE = GroupSpec("shape", (0,))
"""One tap of one channel, W[:,c,kh,kw]: a single column of the lowered weight matrix."""

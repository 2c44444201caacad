"""The group-Lasso part of the objective, minimised by proximal steps.

The paper adds `lambda * sum_g ||w_g||` to the loss and follows a subgradient,
which only ever brings a group *near* zero. The proximal operator of the same
term (group soft-thresholding) reaches exact zeros:

    w_g <- w_g * max(0, 1 - t / ||w_g||)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ssl_train.groups import GroupSpec


@dataclass(frozen=True)
class Term:
    """`strength * sum over groups of ||w_g||` for one convolution weight."""

    weight: torch.nn.Parameter
    groups: GroupSpec
    strength: float = 1.0


@torch.no_grad()
def shrink(weight: torch.Tensor, groups: GroupSpec, threshold: float) -> None:
    """Apply the proximal operator of `threshold * sum_g ||w_g||` to `weight`, in place."""
    norms = groups.norms(weight)
    # A group at or below the threshold (a zero group included) becomes exactly 0.
    factor = torch.where(norms > threshold, 1 - threshold / norms, torch.zeros_like(norms))
    weight.mul_(factor)


class SSL:
    """Takes the proximal step that follows every `optimizer.step()`.

    Terms are applied in the order given. For nested groups (shapes before the
    channels that contain them) this composition is the exact proximal operator
    of their sum; against filters, which cross both, it is an approximation.
    """

    def __init__(self, terms: Sequence[Term], optimizer: torch.optim.SGD):
        self.terms = list(terms)
        self.optimizer = optimizer

    def step(self, lam: float) -> None:
        """Shrink every group by one step at group decay `lam`.

        A gradient step of rate `lr` under momentum `m` travels `lr / (1 - m)`
        in the long run, and the threshold must keep pace: with it, a zero group
        stays zero as long as its gradient's norm is below `lam * strength`.
        """
        settings = self.optimizer.param_groups[0]
        reach = settings["lr"] / (1 - settings["momentum"])
        for term in self.terms:
            shrink(term.weight, term.groups, lam * term.strength * reach)

    @torch.no_grad()
    def penalty(self, lam: float) -> float:
        """Value of the group-Lasso term, in units of the loss."""
        return sum(
            lam * term.strength * term.groups.norms(term.weight).sum().item() for term in self.terms
        )

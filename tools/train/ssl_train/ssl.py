"""The group-Lasso part of the objective, minimised by proximal steps.

The paper adds `lambda * sum_g strength_g ||w_g||` to the loss and follows a subgradient, which only ever brings a group
*near* zero. The proximal operator of the same term (group soft-thresholding) reaches exact zeros:

    w_g <- w_g * max(0, 1 - t / ||w_g||),   t = lambda * strength * reach

where `reach` is how far a unit gradient moves a weight in the long run: lr / (1 - momentum) for SGD, and lr for
optimisers that normalise gradients (Adam): there the step is decoupled from the gradient's scale, as AdamW's decay is.
"""

from collections.abc import Sequence

import torch
from torch import nn

from ssl_train.groups import KINDS, WHOLE, Groups, GroupSpec
from ssl_train.masks import Masks

NEGLIGIBLE = 1e-2
"""A group counts as dead below this fraction of the largest of its family. Under momentum and noise most dead groups
are not exactly zero at any one moment; any fraction between 1e-3 and 1e-1 gave the same networks."""

SURVIVAL = 0.9
"""What a step leaves of the groups of a spec that has lost enough, at least."""


class SSL:
    """Takes the proximal step that follows every `optimizer.step()`.

    Where groups overlap, their operators are applied one after the other, in the order of `KINDS`: shapes, channels,
    filters, layers. For groups that contain each other (shapes in channels in layers, filters in layers) that is the
    exact operator of the sum of their norms; filters cross shapes and channels, and there it is an approximation
    whose zeros are those of either.

    Works on the parameters themselves, so automatic mixed precision needs nothing: call `step` after
    `scaler.step(optimizer)`.
    """

    def __init__(
        self, model: nn.Module, specs: Sequence[GroupSpec], optimizer: torch.optim.Optimizer, lam: float = 0.0
    ):
        order = list(KINDS)
        self.model = model
        self.optimizer = optimizer
        self.groups = [Groups(model, spec) for spec in sorted(specs, key=lambda spec: order.index(spec.kind))]
        self.lam = lam
        """Lambda, in units of the loss for each unit of norm; change it at will."""
        self.masks = Masks()
        """What `freeze` and `GroupSpec.keep` hold at zero."""
        self.settled: dict[GroupSpec, float] = {}
        """Specs that have lost enough, and the lambda at which they did, which stays theirs."""

    def _reach(self, weight: torch.Tensor) -> float:
        group = next(g for g in self.optimizer.param_groups if any(p is weight for p in g["params"]))
        return group["lr"] * (1 - group.get("dampening", 0)) / (1 - group.get("momentum", 0))

    @torch.no_grad()
    def _strengths(self) -> list[float | torch.Tensor]:
        """For each of `groups` the strength of its spec, or those of its groups, shaped as their norms."""
        if not any(groups.spec.reweighted for groups in self.groups):
            return [groups.spec.strength for groups in self.groups]
        return [
            groups.spec.strength / norms.clamp(min=NEGLIGIBLE) if groups.spec.reweighted else groups.spec.strength
            for groups, norms in zip(self.groups, self.relative_norms())
        ]

    @torch.no_grad()
    def step(self) -> None:
        """Shrink every group by one step at the current lambda and learning rate."""
        for groups, strength in zip(self.groups, self._strengths()):
            spec = groups.spec
            norms = groups.norms()
            reach = self._reach(groups.weight)
            if spec in self.settled:
                mean = norms.sum() / norms.count_nonzero().clamp(min=1)
                threshold = self.settled[spec] * spec.strength * reach
                groups.scale((1 - threshold / mean).clamp(min=SURVIVAL))
                continue
            threshold = self.lam * strength * reach
            # A group at or below the threshold (a zero group included) becomes exactly 0.
            factors = torch.where(norms > threshold, 1 - threshold / norms, torch.zeros_like(norms))
            groups.scale(factors)
            if spec.keep:
                alive = norms * factors > NEGLIGIBLE * (norms * factors).max()
                if alive.sum() <= spec.keep:
                    self.freeze(groups, alive)
        self.masks.apply(self.model)

    def state_dict(self) -> dict:
        """What `freeze` and `GroupSpec.keep` have decided so far."""
        settled = [[spec.layer, spec.kind, lam] for spec, lam in self.settled.items()]
        return {"masks": dict(self.masks), "settled": settled}

    def load_state_dict(self, state: dict) -> None:
        specs = {(groups.spec.layer, groups.spec.kind): groups.spec for groups in self.groups}
        self.masks = Masks(state["masks"]).to(next(self.model.parameters()).device)
        self.settled = {specs[layer, kind]: lam for layer, kind, lam in state["settled"]}

    def penalty(self) -> torch.Tensor:
        """`lambda * sum strength ||w_g||`, differentiable (gradient 0 where a group is 0): the paper's form, to be
        added to the loss instead of calling `step`. It leaves small groups, not zeros."""
        terms = [(strength * groups.norms()).sum() for groups, strength in zip(self.groups, self._strengths())]
        return self.lam * torch.stack(terms).sum()

    def freeze(self, groups: Groups, alive: torch.Tensor) -> None:
        """Hold the groups that are not `alive` (bool, shaped as their norms) at zero, and let none of the others die.

        They stay under the present lambda, but all by the same factor, so that none falls behind: 1 - t / mean norm,
        by which the penalty shrinks as before. Released, they would grow, and the layers behind them, whose scale they
        take over, would no longer lose groups.
        """
        self.masks.restrict(groups.spec.layer, groups.mask(alive))
        self.settled[groups.spec] = self.lam

    def live_layers(self) -> int:
        """How many groups that are whole layers are more than negligible."""
        whole = [groups for groups in self.groups if groups.spec.kind in WHOLE]
        return sum(int(norm > NEGLIGIBLE) for norm in self.relative_norms(whole))

    @torch.no_grad()
    def relative_norms(self, of: Sequence[Groups] | None = None) -> list[torch.Tensor]:
        """For each of `of`, which are whole families and by default all of `groups`: norms as fractions of the largest in
        the family; zeros where the largest is zero.

        The family is all groups of the spec, or all layers (`GroupSpec.family`), by root mean square of weights.
        """
        of = self.groups if of is None else of
        norms = [groups.norms() / groups.size**0.5 for groups in of]
        largest: dict[object, float] = {}
        for groups, n in zip(of, norms):
            family = groups.spec.family
            largest[family] = max(largest.get(family, 0.0), float(n.max()))
        # Where the largest is zero, so are all.
        return [n / (largest[groups.spec.family] or 1.0) for groups, n in zip(of, norms)]

    def live_masks(self) -> Masks:
        """What is left without the groups that are negligible now."""
        masks = Masks(self.masks)
        for groups, norms in zip(self.groups, self.relative_norms()):
            masks.restrict(groups.spec.layer, groups.mask(norms > NEGLIGIBLE))
        return masks

    def counts(self) -> dict[GroupSpec, int]:
        """How many groups of each spec are more than negligible."""
        return {
            groups.spec: int((norms > NEGLIGIBLE).sum()) for groups, norms in zip(self.groups, self.relative_norms())
        }

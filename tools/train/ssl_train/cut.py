"""Where to cut: at the widest gap of group norms that validation allows.

SSL leaves some groups exactly zero, others merely small. Sorted, the norms of a family fall off somewhere; the cut
goes through the widest gap (as a ratio) below a limit. The limit is the largest of `LIMITS` whose cut costs no more
validation error than tolerated, for all families together. A family that still has more than `GroupSpec.keep` groups
keeps its largest.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise

import torch

from ssl_train.masks import Masks
from ssl_train.ssl import NEGLIGIBLE, SSL

LIMITS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, NEGLIGIBLE)
"""Candidates: the largest relative norm that may be cut. If none is allowed, only exact zeros go."""


@dataclass(frozen=True)
class Gap:
    """Where a family was cut: relative norms of the largest group that goes and of the smallest that stays."""

    removed: float
    kept: float


@dataclass(frozen=True)
class Cut:
    """What was chosen."""

    masks: Masks
    limit: float
    """The largest relative norm that could be cut; 0: only exact zeros."""
    error: float
    """Validation error (percent) with the cut made."""
    gaps: dict[str, Gap]
    """By "layer kind", where something was cut or could have been."""


def widest_gap(norms: torch.Tensor, limit: float) -> Gap:
    """The widest gap of `norms` (relative to their largest) whose lower end is at most `limit`.

    Negligible norms are all the same: that far down a gap means nothing. Both ends are 0 if no norm is small enough.
    """
    values = norms.flatten().clamp(min=NEGLIGIBLE).sort().values.tolist()
    gaps = [Gap(a, b) for a, b in pairwise(values) if a <= limit]
    return max(gaps, key=lambda gap: gap.kept / gap.removed, default=Gap(0.0, 0.0))


def _after(norms: torch.Tensor, count: int) -> Gap:
    """The gap below the `count` largest."""
    kept, removed = norms.flatten().topk(count + 1).values[-2:].tolist()
    return Gap(removed, kept)


def _masks(ssl: SSL, limit: float) -> tuple[Masks, dict[str, Gap]]:
    masks, gaps = Masks(ssl.masks), {}
    relative = ssl.relative_norms()
    families: dict[object, list[torch.Tensor]] = {}
    for groups, norms in zip(ssl.groups, relative):
        families.setdefault(groups.spec.family, []).append(norms.flatten())
    for groups, norms in zip(ssl.groups, relative):
        spec = groups.spec
        if spec in ssl.settled:
            continue
        family = torch.cat(families[spec.family])
        gap = widest_gap(family, limit)
        if 0 < spec.keep < family.numel():
            gap = max(gap, _after(family, spec.keep), key=lambda gap: gap.removed)
        gaps[f"{spec.layer} {spec.kind}"] = gap
        alive = norms > gap.removed
        masks.restrict(spec.layer, groups.mask(alive))
    return masks, gaps


def choose_cut(ssl: SSL, error: Callable[[torch.nn.Module], float], tolerance: float) -> Cut:
    """Choose what goes for good; changes nothing.

    `error(model)` is the validation error in percent; `tolerance` is how much of it, in percentage points, the cut may
    cost before fine-tuning.
    """
    allowed = error(ssl.model) + tolerance
    for limit in (*LIMITS, 0.0):
        masks, gaps = _masks(ssl, limit)
        trial = deepcopy(ssl.model)
        masks.apply(trial)
        found = error(trial)
        if found <= allowed or limit == 0.0:
            return Cut(masks, limit, found, gaps)
    raise AssertionError("the last limit is always taken")

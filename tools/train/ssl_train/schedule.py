"""How learning rates and lambda change with time, measured in epochs (fractions included)."""

import math


def cosine(peak: float, progress: float) -> float:
    """From `peak` at progress 0 to zero at 1, along half a cosine."""
    return peak * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


def ramp(start: float, growth: float, most: float, epoch: float) -> float:
    """`start`, multiplied by `growth` every epoch, and at most `most`. Never falls: a lower lambda revives groups
    without gaining accuracy."""
    # In logarithms: growth ** epoch overflows where a run goes on for long.
    return min(most, math.exp(min(math.log(start) + epoch * math.log(growth), 700.0)))

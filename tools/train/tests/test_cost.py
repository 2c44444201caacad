"""The cost model: its interpolation, and times that the runtime gives."""

import math

import pytest

from ssl_train.cost import FRACTIONS, CostModel, LayerCost, interpolate, measure
from ssl_train.models import LeNet
from ssl_train.sslm import Layer, Structure

PROPORTIONAL = [[8 * f * c for c in FRACTIONS] for f in FRACTIONS]
CONSTANT = [[1.0] * len(FRACTIONS)] * len(FRACTIONS)


@pytest.mark.parametrize(("filters", "columns"), [(1.0, 1.0), (0.5, 0.25), (0.3, 0.9), (0.07, 0.1)])
def test_power_laws_are_met_exactly(filters, columns):
    assert interpolate(PROPORTIONAL, filters, columns) == pytest.approx(8 * filters * columns)


def test_nothing_is_promised_below_the_smallest_fraction():
    assert interpolate(PROPORTIONAL, 0.001, 1.0) == interpolate(PROPORTIONAL, FRACTIONS[0], 1.0)


def layer(filters, channels, columns, removed=False):
    return Layer((filters, 100), (channels, 10), (columns, 1000), (0, 1), removed)


def test_whole_channels_are_looked_up_as_such():
    cost = LayerCost(scattered=CONSTANT, channels=PROPORTIONAL)
    assert cost.at(layer(50, 5, 500)) == pytest.approx(2.0)
    assert cost.at(layer(50, 10, 500)) == 1.0
    assert cost.at(layer(50, 5, 500, removed=True)) == 0.0


def test_the_speedup_is_of_the_whole_network():
    model = CostModel({"a": LayerCost(PROPORTIONAL, PROPORTIONAL)}, rest=2.0)
    assert model.speedup(Structure({"a": layer(25, 10, 1000)})) == pytest.approx(10 / 4)


def test_measured_times_fall_with_what_is_kept(tools):
    model = LeNet()
    costs = measure(model, (1, 28, 28), tools)
    assert set(costs.layers) == {"conv1", "conv2", "fc1", "fc2"}
    assert all(
        math.isfinite(t) and t > 0 for c in costs.layers.values() for row in c.scattered + c.channels for t in row
    )
    dense = tools.structure(model, (1, 28, 28))
    assert costs.speedup(dense) == pytest.approx(1.0)

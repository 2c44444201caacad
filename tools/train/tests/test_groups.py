"""Group norms against sums written out by hand."""

import pytest
import torch

from ssl_train.groups import CHANNEL, FILTER, SHAPE


@pytest.fixture
def weight():
    return torch.arange(1.0, 1 + 2 * 3 * 2 * 2).reshape(2, 3, 2, 2)


def test_filter_norms(weight):
    norms = FILTER.norms(weight)
    assert norms.shape == (2, 1, 1, 1)
    assert norms[1].item() == pytest.approx(sum(v * v for v in range(13, 25)) ** 0.5)


def test_channel_norms(weight):
    norms = CHANNEL.norms(weight)
    assert norms.shape == (1, 3, 1, 1)
    values = [5, 6, 7, 8, 17, 18, 19, 20]
    assert norms[0, 1].item() == pytest.approx(sum(v * v for v in values) ** 0.5)


def test_shape_norms(weight):
    norms = SHAPE.norms(weight)
    assert norms.shape == (1, 3, 2, 2)
    assert norms[0, 2, 0, 1].item() == pytest.approx((10**2 + 22**2) ** 0.5)

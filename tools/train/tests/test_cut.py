"""Where the cut falls."""

import pytest
import torch
from torch import nn

from ssl_train.cut import choose_cut, widest_gap
from ssl_train.groups import GroupSpec
from ssl_train.ssl import NEGLIGIBLE, SSL


@pytest.mark.parametrize(
    ("norms", "limit", "removed", "kept"),
    [
        ([0.0, 0.002, 0.02, 0.3, 1.0], 0.5, 0.02, 0.3),
        ([0.0, 0.0, 1e-7, 0.5, 1.0], 0.5, NEGLIGIBLE, 0.5),  # that far down a gap means nothing
        ([0.02, 0.3, 1.0], 0.015, 0.0, 0.0),
        ([0.02, 0.1, 1.0], 0.05, 0.02, 0.1),
        ([1.0], 0.5, 0.0, 0.0),
    ],
)
def test_the_widest_gap_below_the_limit(norms, limit, removed, kept):
    gap = widest_gap(torch.tensor(norms), limit)
    assert (gap.removed, gap.kept) == pytest.approx((removed, kept))


def model_with(*columns: float) -> nn.Module:
    conv = nn.Conv2d(len(columns), 1, 1, bias=False)
    conv.weight.data = torch.tensor(columns).reshape(1, -1, 1, 1)
    return nn.Sequential(conv)


def cut_of(model, error, tolerance, keep=0):
    ssl = SSL(model, [GroupSpec("0", "shape", keep=keep)], torch.optim.SGD(model.parameters(), lr=0.1))
    ssl.step()
    return choose_cut(ssl, error, tolerance)


def lost(model) -> float:
    """A stand-in for the validation error: how many weights are zero."""
    return float((model[0].weight == 0).sum())


def test_the_boldest_cut_that_validation_allows():
    model = model_with(0.0, 0.04, 0.4, 1.0)
    assert cut_of(model, lost, 9.0).masks["0"].flatten().tolist() == [False, False, True, True]
    assert cut_of(model_with(0.0, 0.04, 0.3, 0.31, 1.0), lost, 1.0).masks["0"].flatten().tolist() == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_without_tolerance_only_zeros_go():
    model = model_with(0.0, 0.04, 0.4, 1.0)
    cut = cut_of(model, lost, 0.0)
    assert cut.masks["0"].flatten().tolist() == [False, True, True, True]
    assert cut.error == 1.0
    assert model[0].weight.count_nonzero() == 3  # choosing changes nothing


def test_no_more_are_kept_than_asked_for():
    model = model_with(0.7, 0.8, 0.9, 1.0)
    ssl = SSL(model, [GroupSpec("0", "shape", keep=3)], torch.optim.SGD(model.parameters(), lr=0.1))
    assert choose_cut(ssl, lost, 0.0).masks["0"].flatten().tolist() == [False, True, True, True]


def test_what_is_settled_stays():
    cut = cut_of(model_with(0.0, 0.04, 0.4, 1.0), lost, 9.0, keep=3)
    assert cut.masks["0"].flatten().tolist() == [False, True, True, True]

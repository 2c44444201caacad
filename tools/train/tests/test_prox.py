"""The proximal step against closed forms."""

import pytest
import torch

from ssl_train.groups import CHANNEL, FILTER, SHAPE
from ssl_train.prox import SSL, Term, shrink


def test_shrink_shortens_a_group_and_keeps_its_direction():
    weight = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)  # norm 5
    shrink(weight, FILTER, 1.0)
    assert torch.allclose(weight.flatten(), torch.tensor([2.4, 3.2]))


@pytest.mark.parametrize("threshold", [5.0, 7.0])
def test_shrink_reaches_exact_zero_at_the_threshold(threshold):
    weight = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    shrink(weight, FILTER, threshold)
    assert (weight == 0).all()


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_shrink_keeps_a_zero_group_zero(threshold):
    weight = torch.zeros(2, 2, 1, 1)
    shrink(weight, FILTER, threshold)
    assert (weight == 0).all()


def test_shrink_treats_groups_separately():
    weight = torch.tensor([[3.0, 0.1], [4.0, 0.1]]).reshape(2, 2, 1, 1)
    shrink(weight, SHAPE, 1.0)
    assert torch.allclose(weight[:, 0].flatten(), torch.tensor([2.4, 3.2]))
    assert (weight[:, 1] == 0).all()


def test_shrink_minimises_the_proximal_objective():
    torch.manual_seed(0)
    start = torch.randn(3, 2, 2, 2)
    best = start.clone()
    shrink(best, CHANNEL, 0.7)

    def objective(candidate):
        return 0.5 * (candidate - start).square().sum() + 0.7 * CHANNEL.norms(candidate).sum()

    for _ in range(200):
        assert objective(best) <= objective(best + 0.01 * torch.randn_like(best))


def parameter(*values):
    return torch.nn.Parameter(torch.tensor(values).reshape(1, -1, 1, 1))


def test_step_scales_the_threshold_with_rate_momentum_and_strength():
    weight = parameter(3.0, 4.0)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.5)
    SSL([Term(weight, FILTER, strength=2.0)], optimizer).step(lam=2.5)
    # 2.5 * 2.0 * 0.1 / (1 - 0.5) = 1, so the norm goes from 5 to 4.
    assert torch.allclose(weight.flatten(), torch.tensor([2.4, 3.2]))


def test_step_follows_a_changed_learning_rate():
    weight = parameter(3.0, 4.0)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    ssl = SSL([Term(weight, FILTER)], optimizer)
    optimizer.param_groups[0]["lr"] = 0.0
    ssl.step(lam=1.0)
    assert weight.flatten().tolist() == [3.0, 4.0]


def test_gradient_below_lambda_cannot_revive_a_zero_group():
    weight = parameter(0.0, 0.0)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    ssl = SSL([Term(weight, FILTER)], optimizer)
    for _ in range(200):
        weight.grad = torch.tensor([0.3, 0.4]).reshape(1, 2, 1, 1)  # norm 0.5
        optimizer.step()
        ssl.step(lam=0.51)
        assert (weight == 0).all()


def test_penalty_is_the_weighted_sum_of_norms():
    weight = parameter(3.0, 4.0)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    ssl = SSL([Term(weight, FILTER, strength=2.0), Term(weight, SHAPE)], optimizer)
    assert ssl.penalty(lam=0.1) == pytest.approx(0.1 * (2 * 5 + 3 + 4))

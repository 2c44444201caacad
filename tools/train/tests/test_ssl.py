"""The proximal step and the penalty against closed forms."""

import pytest
import torch
from torch import nn

from ssl_train.groups import GroupSpec
from ssl_train.ssl import SSL


def layer(*values: float) -> nn.Sequential:
    """One filter with these weights."""
    conv = nn.Conv2d(len(values), 1, 1, bias=False)
    conv.weight.data = torch.tensor(values).reshape(1, -1, 1, 1)
    return nn.Sequential(conv)


def weights(model: nn.Module) -> list[float]:
    return model[0].weight.flatten().tolist()


def ssl_of(model, *specs, lam=1.0, optimizer=None) -> SSL:
    return SSL(model, specs, optimizer or torch.optim.SGD(model.parameters(), lr=1.0), lam)


def test_a_step_shortens_a_group_and_keeps_its_direction():
    model = layer(3.0, 4.0)  # norm 5
    ssl_of(model, GroupSpec("0", "filter")).step()
    assert weights(model) == pytest.approx([2.4, 3.2])


@pytest.mark.parametrize("lam", [5.0, 7.0])
def test_a_group_within_the_threshold_becomes_exactly_zero(lam):
    model = layer(3.0, 4.0)
    ssl_of(model, GroupSpec("0", "filter"), lam=lam).step()
    assert weights(model) == [0.0, 0.0]


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_zero_stays_zero(lam):
    model = layer(0.0, 0.0)
    ssl_of(model, GroupSpec("0", "filter"), lam=lam).step()
    assert weights(model) == [0.0, 0.0]


def test_groups_are_treated_apart():
    model = layer(3.0, 0.1)
    ssl_of(model, GroupSpec("0", "shape")).step()
    assert weights(model) == pytest.approx([2.0, 0.0])


def test_a_step_minimises_the_proximal_objective():
    conv = nn.Conv2d(2, 3, 2, bias=False)
    start = conv.weight.detach().clone()
    ssl = ssl_of(nn.Sequential(conv), GroupSpec("0", "channel"), lam=0.3)
    ssl.step()

    def objective(candidate):
        norms = candidate.transpose(0, 1).flatten(1).norm(dim=1)
        return 0.5 * (candidate - start).square().sum() + 0.3 * norms.sum()

    best = objective(conv.weight)
    assert all(best <= objective(conv.weight + 0.01 * torch.randn_like(start)) for _ in range(200))


def test_nested_groups_take_the_exact_step_of_their_sum():
    """Shapes in a layer: the operator of the sum is that of the inner groups, then that of the outer one."""
    conv = nn.Conv2d(3, 4, 1, bias=False)
    start = conv.weight.detach().clone()
    ssl_of(nn.Sequential(conv), GroupSpec("0", "layer"), GroupSpec("0", "shape"), lam=0.2).step()

    def objective(candidate):
        inner = candidate.flatten(1).norm(dim=0).sum()
        return 0.5 * (candidate - start).square().sum() + 0.2 * (inner + candidate.norm())

    best = objective(conv.weight)
    assert all(best <= objective(conv.weight + 0.01 * torch.randn_like(start)) for _ in range(200))


@pytest.mark.parametrize(
    ("optimizer", "reach"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 0.1),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5), 0.2),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), 1.0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, dampening=0.5), 0.1),
        (lambda p: torch.optim.Adam(p, lr=0.1), 0.1),
    ],
)
def test_the_threshold_keeps_pace_with_the_optimiser(optimizer, reach):
    model = layer(3.0, 4.0)
    ssl_of(model, GroupSpec("0", "filter", strength=2.0), lam=0.5, optimizer=optimizer(model.parameters())).step()
    assert model[0].weight.norm().item() == pytest.approx(5 - reach)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("lam", "revived"), [(0.51, False), (0.49, True)])
def test_a_zero_group_is_revived_by_gradients_beyond_lambda_only(momentum, lam, revived):
    model = layer(0.0, 0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    ssl = ssl_of(model, GroupSpec("0", "filter"), lam=lam, optimizer=optimizer)
    for _ in range(200):
        model[0].weight.grad = torch.tensor([0.3, 0.4]).reshape(1, 2, 1, 1)  # norm 0.5
        optimizer.step()
        ssl.step()
    assert bool(model[0].weight.any()) == revived


def test_a_scaled_loss_needs_nothing():
    """Automatic mixed precision: the gradient scaler divides before the optimiser's step."""
    models = [layer(3.0, 4.0), layer(3.0, 4.0)]
    for model, scale in zip(models, (1.0, 1024.0)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ssl = ssl_of(model, GroupSpec("0", "filter"), lam=0.5, optimizer=optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(model[0].weight.sum()).backward()
        scaler.step(optimizer)
        ssl.step()
    assert weights(models[0]) == pytest.approx(weights(models[1]))


def test_the_penalty_and_its_gradient():
    model = layer(3.0, 4.0)
    ssl = ssl_of(model, GroupSpec("0", "filter", strength=2.0), GroupSpec("0", "shape"), lam=0.1)
    penalty = ssl.penalty()
    penalty.backward()
    assert penalty.item() == pytest.approx(0.1 * (2 * 5 + 3 + 4))
    assert model[0].weight.grad.flatten().tolist() == pytest.approx([0.1 * (2 * 0.6 + 1), 0.1 * (2 * 0.8 + 1)])


def test_the_penalty_of_a_zero_group_has_no_gradient():
    model = layer(0.0, 0.0)
    ssl_of(model, GroupSpec("0", "filter")).penalty().backward()
    assert model[0].weight.grad.flatten().tolist() == [0.0, 0.0]


def test_a_layer_that_has_lost_enough_loses_no_more():
    model = layer(5.0, 3.0, 1.0, 2.0)
    ssl = ssl_of(model, GroupSpec("0", "shape", keep=2))
    for _ in range(2):
        ssl.step()
    assert weights(model) == pytest.approx([3.0, 1.0, 0.0, 0.0])
    ssl.lam = 100.0  # not its own any more
    model[0].weight.data *= 10
    ssl.step()
    # By one factor, and by as much in all as single steps of 1 for each.
    assert weights(model) == pytest.approx([30 * 0.95, 10 * 0.95, 0.0, 0.0])
    for _ in range(100):
        ssl.step()
    assert all(w > 0 for w in weights(model)[:2]) and not any(weights(model)[2:])


def test_negligible_groups_are_not_alive():
    model = layer(1.0, 0.009, 0.011)
    ssl = ssl_of(model, GroupSpec("0", "shape"))
    assert list(ssl.counts().values()) == [2]
    assert ssl.live_masks()["0"].flatten().tolist() == [True, False, True]


def test_reweighted_groups_are_shrunk_by_their_size():
    model = layer(4.0, 1.0, 0.5, 0.01)
    ssl_of(model, GroupSpec("0", "shape", reweighted=True), lam=0.1).step()
    # Lambda over 1, 1/4 and 1/8 of the largest; negligible ones are all alike.
    assert weights(model) == pytest.approx([3.9, 0.6, 0.0, 0.0])


def test_reweighted_layers_are_shrunk_by_their_size():
    model = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(1))
    model[1].weight.data[:] = 0.5
    ssl_of(model, GroupSpec("0", "scale", reweighted=True), GroupSpec("1", "scale", reweighted=True), lam=0.1).step()
    # Norms are 2 and 0.5; by root mean square, which does not know how many channels a layer has, they are 1 and 0.5.
    assert model[0].weight.norm().item() == pytest.approx(1.9)
    assert model[1].weight.norm().item() == pytest.approx(0.3)


def test_the_gradient_of_a_reweighted_penalty_is_the_step():
    model = layer(4.0, -1.0)
    ssl_of(model, GroupSpec("0", "shape", reweighted=True), lam=0.1).penalty().backward()
    assert model[0].weight.grad.flatten().tolist() == pytest.approx([0.1, -0.4])


def test_layers_are_compared_with_layers():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(4, 4, 1))
    model[0].weight.data[:] = 1.0
    model[1].weight.data[:] = 0.001
    ssl = ssl_of(model, GroupSpec("0", "layer"), GroupSpec("1", "layer"))
    assert list(ssl.counts().values()) == [1, 0]
    assert ssl.live_layers() == 1

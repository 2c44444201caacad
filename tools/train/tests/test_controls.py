"""What the controls keep, and what low rank costs."""

import pytest
import torch

from ssl_train.controls import low_rank, magnitude, weights_left
from ssl_train.groups import GroupSpec
from ssl_train.masks import Masks
from ssl_train.models import ConvNet, LeNet, ResNet
from ssl_train.sslm import Layer, Structure


def test_magnitude_keeps_as_many_of_the_largest():
    model = LeNet()
    kept = Masks(
        conv1=(torch.arange(20) < 3).view(-1, 1, 1, 1).expand(20, 1, 5, 5),
        conv2=torch.ones(50, 20, 5, 5, dtype=torch.bool),
    )
    specs = [GroupSpec("conv1", "filter"), GroupSpec("conv1", "shape"), GroupSpec("conv2", "shape")]
    found = magnitude(model, specs, kept)
    norms = model.conv1.weight.detach().flatten(1).norm(dim=1)
    assert set(found["conv1"].flatten(1).any(1).nonzero().flatten().tolist()) == set(norms.topk(3).indices.tolist())
    assert found["conv2"].all()


def test_magnitude_lets_layers_compete():
    model = ResNet(depth=8)
    specs = [GroupSpec(f"block{s}_1.conv2", "layer") for s in (1, 2, 3)]
    model.block2_1.conv2.weight.data *= 0.1
    kept = Masks(
        {s.layer: torch.full_like(model.get_submodule(s.layer).weight, s.layer[5] != "1", dtype=bool) for s in specs}
    )
    found = magnitude(model, specs, kept)
    assert [bool(found[spec.layer].any()) for spec in specs] == [True, False, True]


def test_weights_of_removed_layers_are_not_left():
    model = ResNet(depth=8)
    model.fc.weight.data[0] = 0.0
    layers = {"block1_1.conv1": True, "block1_1.conv2": True, "block2_1.conv1": False}
    found = Structure({name: Layer((1, 1), (1, 1), (1, 1), (0, 1), removed) for name, removed in layers.items()})
    every = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert weights_left(model, found) == every - 2 * 16 * 16 * 9 - 64


def structure(**macs: tuple[int, int]) -> Structure:
    return Structure({name: Layer((1, 1), (1, 1), (1, 1), m, False) for name, m in macs.items()})


def test_full_rank_is_the_same_function():
    model = LeNet()
    # conv2 of 50 x 500 has rank 50; so much work allows rank 50.
    factored = low_rank(model, structure(conv2=(11, 10), fc1=(21, 10)))
    images = torch.randn(2, 1, 28, 28)
    assert torch.allclose(model(images), factored(images), atol=1e-5)


@pytest.mark.parametrize("part", [0.1, 0.5])
def test_low_rank_costs_what_it_may(part):
    factored = low_rank(ConvNet(), structure(conv2=(int(100 * part), 100), fc=(100, 100)))
    first, second = factored.conv2
    cost = first.weight.numel() + second.weight.numel()
    assert part * 25600 - (800 + 32) <= cost <= part * 25600
    assert first.padding == (2, 2) and first.bias is None and second.bias is not None
    assert factored.fc.weight.shape == (10, 1024)
    assert factored(torch.zeros(1, 3, 32, 32)).shape == (1, 10)

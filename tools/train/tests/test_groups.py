"""Which weights are in which group, against sums written out by hand."""

import pytest
import torch
from torch import nn

from ssl_train.errors import SslError
from ssl_train.groups import Groups, GroupSpec, group_specs
from ssl_train.models import LeNet, ResNet


def bound(module: nn.Module, kind: str) -> Groups:
    return Groups(nn.Sequential(module), GroupSpec("0", kind))


@pytest.fixture
def conv():
    module = nn.Conv2d(3, 2, 2)
    module.weight.data = torch.arange(1.0, 25).reshape(2, 3, 2, 2)
    return module


def root(*values: float) -> float:
    return sum(v * v for v in values) ** 0.5


@pytest.mark.parametrize(
    ("kind", "count", "size", "index", "members"),
    [
        ("filter", 2, 12, 1, range(13, 25)),
        ("channel", 3, 8, 1, [5, 6, 7, 8, 17, 18, 19, 20]),
        ("shape", 12, 2, 9, [10, 22]),
        ("layer", 1, 24, 0, range(1, 25)),
        ("weight", 24, 1, 6, [7]),
    ],
)
def test_groups_of_a_convolution(conv, kind, count, size, index, members):
    groups = bound(conv, kind)
    assert (len(groups), groups.size, groups.norms().numel()) == (count, size, count)
    assert groups.norms().flatten()[index].item() == pytest.approx(root(*members))


@pytest.mark.parametrize(("kind", "count", "index", "members"), [("neuron", 2, 1, [3, 4, 5]), ("input", 3, 2, [2, 5])])
def test_groups_of_a_linear_layer(kind, count, index, members):
    module = nn.Linear(3, 2)
    module.weight.data = torch.arange(6.0).reshape(2, 3)
    groups = bound(module, kind)
    assert len(groups) == count
    assert groups.norms().flatten()[index].item() == pytest.approx(root(*members))


def test_columns_and_channels_of_a_grouped_convolution_are_those_of_one_conv_group():
    module = nn.Conv2d(4, 6, 3, groups=2)
    columns, channels = bound(module, "shape"), bound(module, "channel")
    assert (len(columns), columns.size) == (2 * 2 * 9, 3)
    assert (len(channels), channels.size) == (4, 27)
    second = module.weight[3:, 1, 2, 0]
    assert columns.norms()[1, 0, 1, 2, 0].item() == pytest.approx(second.norm().item())


def test_the_scale_of_a_batchnorm():
    module = nn.BatchNorm2d(4)
    module.weight.data = torch.tensor([1.0, 2.0, 2.0, 4.0])
    groups = bound(module, "scale")
    assert (len(groups), groups.size, groups.norms().item()) == (1, 4, 5.0)
    groups.scale(torch.zeros_like(groups.norms()))
    assert not module.weight.any() and groups.mask(groups.norms() > 0).shape == (4,)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", ["filter", "channel", "shape", "layer", "weight"])
def test_scaling_masking_and_keeping_agree(kind, form):
    module = nn.Conv2d(4, 6, 3, groups=2).to(memory_format=form)
    groups = bound(module, kind)
    alive = torch.rand_like(groups.norms()) < 0.5
    groups.scale(alive.float())
    assert torch.equal(groups.mask(alive), module.weight != 0)
    assert torch.equal(groups.kept(module.weight != 0), alive)


def test_specs_of_a_network():
    found = group_specs(
        LeNet(), {"filter": 1.0, "channel": 0.5, "neuron": 2.0}, {"fc*": {"neuron": 0}, "fc1": {"neuron": 3}}
    )
    # conv1 has one channel, which would be the whole layer.
    assert found == [
        GroupSpec("conv1", "filter", 1.0),
        GroupSpec("conv2", "channel", 0.5),
        GroupSpec("conv2", "filter", 1.0),
        GroupSpec("fc1", "neuron", 6.0),
    ]


def test_specs_weighted_by_size():
    (conv1, conv2) = group_specs(LeNet(), {"filter": 2.0}, keep={"conv2": {"filter": 9}}, sqrt_size=True)
    assert conv1.strength == pytest.approx(2 * 5)
    assert conv2.strength == pytest.approx(2 * 500**0.5)
    assert (conv1.keep, conv2.keep) == (0, 9)


def test_layers_within_shortcuts_only():
    found = group_specs(ResNet(depth=8), {"layer": 1.0}, {"*": {"layer": 0}, "block*.conv?": {"layer": 1}})
    assert [spec.layer for spec in found] == [f"block{s}_1.conv{c}" for s in (1, 2, 3) for c in (1, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"row": 1.0},), "among shape, channel, .*, found row"),
        (({"filter": 1.0}, {"conv9": {"filter": 0}}), "no layer of the model is called conv9"),
        (({"filter": 1.0}, None, {"conv9": {"filter": 3}}), "no layer of the model is called conv9"),
    ],
)
def test_impossible_groups_are_refused(arguments, message):
    with pytest.raises(SslError, match=message):
        group_specs(LeNet(), *arguments)


def test_a_kind_must_fit_its_layer():
    with pytest.raises(SslError, match="a Linear has no groups of kind filter"):
        bound(nn.Linear(2, 2), "filter")

"""Which groups count as live, what a cut drags along, and what it leaves alone."""

import pytest
import torch
from torch import nn

from ssl_train import structure
from ssl_train.models import LeNet


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LeNet()


def zero(parameter, index):
    with torch.no_grad():
        parameter[index] = 0.0


def test_a_fresh_network_is_all_alive(model):
    kept = structure.live(model)
    assert kept["conv1"].mask.all() and kept["conv2"].mask.all()
    assert kept["conv2"].summary()["columns"] == 500


def test_a_dead_filter_takes_its_channel_along(model):
    zero(model.conv1.weight, 7)
    kept = structure.live(model)
    assert kept["conv2"].channels.sum() == 19
    assert not kept["conv2"].columns[7].any()


def test_an_unread_channel_takes_its_filter_along(model):
    zero(model.conv2.weight, (slice(None), 3))
    assert not structure.live(model)["conv1"].filters[3]


def test_columns_are_indexed_by_channel_then_tap(model):
    for index in range(500):
        if index != 2 * 25 + 1 * 5 + 4:
            channel, tap = divmod(index, 25)
            zero(model.conv2.weight, (slice(None), channel, tap // 5, tap % 5))
    summary = structure.live(model)["conv2"].summary()
    assert summary["kept_columns"] == [59]
    assert summary["channels"] == 1


def test_a_relative_threshold_compares_with_the_largest_of_the_layer(model):
    with torch.no_grad():
        model.conv1.weight[:] = 1.0
        model.conv1.weight[4] = 0.05
    assert structure.live(model, 0.04)["conv1"].filters.all()
    kept = structure.live(model, 0.06)["conv1"].filters
    assert kept.tolist() == [index != 4 for index in range(20)]


def test_apply_zeroes_weights_and_keeps_biases(model):
    zero(model.conv1.weight, 7)
    biases = [model.conv1.bias.clone(), model.conv2.bias.clone()]
    kept = structure.live(model)
    structure.apply(model, kept)
    assert (model.conv2.weight[:, 7] == 0).all()
    assert (model.conv2.weight[:, 6] != 0).all()
    assert torch.equal(model.conv1.bias, biases[0]) and torch.equal(model.conv2.bias, biases[1])


def test_an_empty_layer_is_reported(model):
    nn.init.zeros_(model.conv1.weight)
    assert structure.collapsed(structure.live(model)) == ["conv1", "conv2"]

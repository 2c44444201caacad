"""The recipes' networks: their shapes, and normalisation against PyTorch's own."""

import pytest
import torch
from torch.nn.functional import local_response_norm

from ssl_train.lrn import LRN
from ssl_train.models import MLP, MODELS, ConvNet, LeNet, ResNet


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_lrn_is_pytorchs(size, channels):
    x = torch.randn(2, channels, 3, 4, requires_grad=True)
    found = LRN(size, 0.3, 0.75, 2.0)(x)
    expected = local_response_norm(x, size, 0.3, 0.75, 2.0)
    assert torch.allclose(found, expected, atol=1e-6)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected)]
    assert torch.allclose(*gradients, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "shape", "weights"),
    [
        (LeNet(), (1, 28, 28), 430500),
        (MLP(), (1, 28, 28), 784 * 500 + 500 * 300 + 300 * 10),
        (ConvNet(), (3, 32, 32), 3 * 32 * 25 + 32 * 32 * 25 + 32 * 64 * 25 + 1024 * 10),
        (ResNet(depth=20), (3, 32, 32), 270896),
        (ResNet(depth=32), (3, 32, 32), 464432),
    ],
)
def test_networks_have_the_published_sizes(model, shape, weights):
    assert model(torch.zeros(2, *shape)).shape == (2, 10)
    found = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert found == weights


def test_caffenet_is_of_the_published_size():
    with torch.device("meta"):
        model = MODELS["caffenet"]()
        assert model(torch.zeros(1, 3, 227, 227)).shape == (1, 1000)
    assert sum(p.numel() for p in model.parameters()) == 60965224


def test_impossible_depths_are_refused():
    with pytest.raises(ValueError, match="found 21"):
        ResNet(depth=21)

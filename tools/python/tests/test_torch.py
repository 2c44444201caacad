"""Modules of PyTorch, compiled. They need PyTorch, and are run on demand."""

import collections

import numpy as np
import pytest
import sslm

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3)
        self.norm, self.last = torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.second(torch.relu(self.first(x)))))
        return self.last(x.mean((2, 3)))


def pruned() -> Net:
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        net.first.weight[::2] = 0
    return net


def test_compile():
    net = pruned()
    example = torch.rand(2, 3, 12, 12)
    compiled = sslm.compile(net, example)
    assert isinstance(compiled, torch.nn.Module) and net.training, "the module stays as it was"
    net.eval()
    for batch in (2, 1, 5):
        x = torch.rand(batch, 3, 12, 12)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-5)
    assert compiled.model.certificate.gain > 1.3


def test_what_is_dense_is_told():
    with pytest.warns(UserWarning, match="nothing was removed"):
        sslm.compile(Net(), torch.rand(1, 3, 12, 12))


def test_what_cannot_be_converted_is_an_error():
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.nonzero(x)

    with pytest.raises(sslm.ConversionError):
        sslm.compile(Odd(), torch.rand(1, 3))


def test_structures():
    Pair = collections.namedtuple("Pair", ["a", "b"])

    class Several(torch.nn.Module):
        def forward(self, x, y):
            return {"sum": x + y, "both": Pair(torch.relu(x), [x - y])}

    module, (x, y) = Several(), (torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4))
    with pytest.warns(UserWarning, match="nothing was removed"):
        compiled = sslm.compile(module, (x, y))
    found, expected = compiled(x, y), module(x, y)
    assert type(found["both"]) is Pair
    torch.testing.assert_close(found["sum"], expected["sum"])
    torch.testing.assert_close(found["both"].b[0], expected["both"].b[0])


def test_models_of_modules_and_tensors():
    net, x = pruned().eval(), torch.rand(2, 3, 12, 12)
    model = sslm.Model(net, example=x)
    with torch.no_grad():
        np.testing.assert_allclose(model(x), net(x).numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(sslm.InputError, match="example: expected an input"):
        sslm.Model(net)
    with pytest.raises(sslm.InputError, match="require"):
        model(x.clone().requires_grad_())

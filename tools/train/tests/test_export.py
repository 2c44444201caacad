"""The exported file: exact zeros, named tensors, metadata, and the same answers."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ssl_train import structure
from ssl_train.export import MNIST_PREPROCESSING, export
from ssl_train.models import LeNet


@pytest.fixture
def pruned():
    torch.manual_seed(0)
    model = LeNet()
    with torch.no_grad():
        model.conv1.weight[5:] = 0.0
        model.conv2.weight[19:] = 0.0
        model.conv2.weight[:, :, 2] = 0.0
    structure.apply(model, structure.live(model))
    return model


@pytest.fixture
def exported(pruned, tmp_path):
    path = tmp_path / "lenet.onnx"
    export(pruned, path, (1, 28, 28), [str(d) for d in range(10)], MNIST_PREPROCESSING)
    return path


def test_weights_are_inline_unchanged_and_exactly_zero(pruned, exported):
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(exported).graph.initializer}
    assert list(exported.parent.iterdir()) == [exported]
    for name, parameter in pruned.named_parameters():
        assert np.array_equal(stored[name], parameter.detach().numpy()), name
    assert not stored["conv2.weight"][:, 5:].any()
    assert stored["conv1.bias"][5:].all()


def test_names_and_dynamic_batch(exported):
    graph = onnx.load(exported).graph
    described = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    assert described == {"image": ["batch", 1, 28, 28], "logits": ["batch", 10]}


def test_metadata(exported):
    properties = {p.key: json.loads(p.value) for p in onnx.load(exported).metadata_props}
    assert properties["ssl.labels"] == [str(d) for d in range(10)]
    assert properties["ssl.preprocessing"] == {
        "color": "gray",
        "resize": "stretch",
        "scale": 0.00392156862745098,
        "mean": [0.1307],
        "std": [0.3081],
    }


@pytest.mark.parametrize("batch", [1, 7])
def test_onnxruntime_agrees(pruned, exported, batch):
    images = torch.randn(batch, 1, 28, 28)
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images.numpy()})
    with torch.no_grad():
        assert np.abs(logits - pruned(images).numpy()).max() < 1e-5

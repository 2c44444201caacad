"""The exported file: exact zeros, named tensors, metadata, and the same answers."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ssl_train.export import export, preprocessing
from ssl_train.masks import Masks
from ssl_train.models import ConvNet, LeNet, ResNet

PREPROCESSING = preprocessing(1, 1 / 255, (0.1307,), (0.3081,), None)


@pytest.fixture
def pruned():
    model = LeNet()
    masks = Masks()
    masks.restrict("conv1", torch.arange(20).view(-1, 1, 1, 1).expand(20, 1, 5, 5) < 5)
    masks.restrict("conv2", torch.arange(50).view(-1, 1, 1, 1).expand(50, 20, 5, 5) < 19)
    masks.restrict("conv2", torch.arange(5).view(1, 1, -1, 1).expand(50, 20, 5, 5) != 2)
    masks.apply(model)
    return model


@pytest.fixture
def exported(pruned, tmp_path):
    path = tmp_path / "lenet.onnx"
    export(pruned, path, (1, 28, 28), [str(d) for d in range(10)], PREPROCESSING)
    return path


def test_weights_are_inline_unchanged_and_exactly_zero(pruned, exported):
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(exported).graph.initializer}
    assert list(exported.parent.iterdir()) == [exported]
    for name, parameter in pruned.named_parameters():
        assert np.array_equal(stored[name], parameter.detach().numpy()), name
    assert not stored["conv2.weight"][:, :, 2].any()
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
        "scale": 1 / 255,
        "mean": [0.1307],
        "std": [0.3081],
    }


def test_colours_and_sides():
    found = preprocessing(3, 1.0, (1, 2, 3), (4, 5, 6), 256)
    assert (found["color"], found["resize"]) == ("rgb", {"short_side": 256})


def answers(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": images.numpy()})[0]


def operators(path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("batch", [1, 7])
def test_onnxruntime_agrees(pruned, exported, batch):
    images = torch.randn(batch, 1, 28, 28)
    with torch.no_grad():
        assert np.abs(answers(exported, images) - pruned(images).numpy()).max() < 1e-5


def test_lrn_is_one_node(tmp_path):
    model = ConvNet().eval()
    export(model, tmp_path / "net.onnx", (3, 32, 32))
    assert operators(tmp_path / "net.onnx").count("LRN") == 2
    assert not {"Pow", "Div", "Constant"} & set(operators(tmp_path / "net.onnx"))
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert np.abs(answers(tmp_path / "net.onnx", images) - model(images).numpy()).max() < 1e-4


@pytest.mark.parametrize(("fold", "nodes"), [(True, 0), (False, 9)])
def test_batchnorm_is_folded_or_not(tmp_path, fold, nodes):
    model = ResNet(depth=8)
    model(torch.randn(16, 3, 32, 32))  # moves the running statistics
    export(model, tmp_path / "net.onnx", (3, 32, 32), fold_batchnorm=fold)
    assert model.training
    assert operators(tmp_path / "net.onnx").count("BatchNormalization") == nodes
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert np.abs(answers(tmp_path / "net.onnx", images) - model.eval()(images).numpy()).max() < 1e-4

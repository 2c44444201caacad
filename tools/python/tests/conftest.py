"""What tests share: the shipped models, small ONNX models, and which tests are run on demand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "tools/models"


def pytest_addoption(parser):
    parser.addoption(
        "--slow", action="store_true", help="tests that take minutes, too, and those that need PyTorch or Jupyter"
    )


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="run by --slow"))


@pytest.fixture(scope="session")
def lenet() -> Path:
    """The folder with LeNet as ONNX and .sslm, and ten digits."""
    return MODELS / "lenet"


@pytest.fixture
def digit() -> np.ndarray:
    return np.random.default_rng(7).random((1, 1, 28, 28), np.float32)


def model_of(nodes, inputs, outputs, weights=()) -> onnx.ModelProto:
    """An ONNX model of nodes, and (name, type, shape) of inputs and outputs."""
    info = lambda values: [helper.make_tensor_value_info(*value) for value in values]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights]
    graph = helper.make_graph(nodes, "test", info(inputs), info(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="session")
def stereo() -> onnx.ModelProto:
    """Two inputs, of which one is of bytes, and two outputs, of which one is of indices."""
    random = np.random.default_rng(3)
    weights = [
        ("w", random.normal(0, 1, (4, 3, 3, 3)).astype(np.float32)),
        ("shift", np.arange(4, dtype=np.float32).reshape(4, 1, 1)),
    ]
    nodes = [
        helper.make_node("Cast", ["left"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["a", "right"], ["sum"]),
        helper.make_node("ArgMax", ["sum"], ["classes"], axis=1, keepdims=0),
    ]
    size = ["batch", 4, 8, 8]
    return model_of(
        nodes,
        [("left", TensorProto.UINT8, ["batch", 3, 8, 8]), ("right", TensorProto.FLOAT, size)],
        [("sum", TensorProto.FLOAT, size), ("classes", TensorProto.INT64, ["batch", 8, 8])],
        weights,
    )

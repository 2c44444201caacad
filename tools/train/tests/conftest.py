"""What tests share: the converter and the runtime, and small data sets in every form that the package reads."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_train.sslm import Programs, Tools, tools_of

RELEASE = Path(__file__).parents[3] / "target/release"


def pytest_addoption(parser):
    parser.addoption(
        "--tools", type=Path, help="folder with ssl-convert and ssl-run (default: the package sslm, or target/release)"
    )


@pytest.fixture(scope="session")
def tools(request):
    """The converter and the runtime; tests that need them fail without."""
    tools = tools_of(request.config.getoption("--tools"))
    if not tools.found():
        tools = Programs(RELEASE)
    assert tools.found(), (
        "ssl-convert is missing: pip install tools/python, cargo build --release, or pytest --tools DIR"
    )
    return tools


def flags(tools: Tools) -> list:
    """What makes `ssl-train` use these."""
    return ["--tools", tools.folder] if tools.folder else []


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 28, 28] with a bright patch whose place is the label, on noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count).astype(np.uint8)
    images = random.integers(0, 100, (count, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels):
        row, column = divmod(int(label), 4)
        image[2 + 9 * row : 8 + 9 * row, 1 + 7 * column : 7 + 7 * column] = 255
    return images, labels


def write_pair(folder: Path, images: np.ndarray, labels: np.ndarray, name: str) -> None:
    (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
    (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))


@pytest.fixture(scope="session")
def mnist(tmp_path_factory) -> Path:
    """A folder as MNIST's, of 1000 training and 200 test images that LeNet learns in an epoch or two."""
    folder = tmp_path_factory.mktemp("mnist")
    write_pair(folder, *digits(1000, 0), "train")
    write_pair(folder, *digits(200, 1), "t10k")
    return folder

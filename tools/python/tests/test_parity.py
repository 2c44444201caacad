"""The same answers as onnxruntime."""

import json
import sys

import numpy as np
import onnxruntime
import pytest
import sslm
from conftest import MODELS, ROOT

SHIPPED = ["convnet", "lenet", "lenet-filters", "lenet-shapes", "mlp", "resnet20"]


def relative(expected, found):
    assert expected.shape == found.shape and expected.dtype == found.dtype
    return np.abs(expected - found).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("threads", [1, 2])
def test_shipped_models(name, threads):
    onnx = MODELS / name / f"{name}.onnx"
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    model = sslm.Model(MODELS / name / f"{name}.sslm", threads=threads)
    (info,) = model.inputs
    random = np.random.default_rng(1)
    for batch in (1, 3, 16):
        x = random.normal(0, 1, [batch, *info.shape[1:]]).astype(np.float32)
        (expected,) = session.run(None, {info.name: x})
        assert relative(expected, model(x)) < 2e-5


@pytest.mark.slow
def test_random_graphs():
    sys.path.insert(0, str(ROOT / "tests/scripts"))
    from fuzz_onnxruntime import Graph, check

    onnxruntime.set_default_logger_severity(4)
    compared = 0
    for seed in range(10**6):
        random = np.random.default_rng(seed)
        outcome = check(*Graph(random).build(), random)
        assert not outcome.startswith("failed"), f"graph {seed}: {outcome}"
        compared += outcome == "passed"
        if compared == 500:
            break


def test_digits_are_what_they_are(lenet):
    model = sslm.Model(lenet / "lenet.sslm")
    for digit in range(10):
        path = lenet / "digits" / f"{digit}.png"
        classes = model.classify(path)
        assert classes[0].label == str(digit) and len(classes) == 5
        assert classes == model.classify(path.read_bytes()) == model.classify(str(path))
        assert classes[0].probability >= classes[1].probability


def test_pixels_are_as_files(lenet):
    image = pytest.importorskip("PIL.Image")
    model = sslm.Model(lenet / "lenet.sslm")
    pixels = np.asarray(image.open(lenet / "digits/7.png").convert("L"))
    assert model.classify(pixels) == model.classify(pixels[:, :, None]) == model.classify(lenet / "digits/7.png")
    assert model.classify(np.repeat(pixels[:, :, None], 3, 2), top=1)[0].label == "7"


def test_classes_are_those_of_the_tool(lenet, capfd):
    from sslm._sslm import run_tool

    path = str(lenet / "digits/3.png")
    assert run_tool("ssl-run", ["ssl-run", str(lenet / "lenet.sslm"), path, "--json"]) == 0
    (answer,) = json.loads(capfd.readouterr().out)
    for theirs, ours in zip(answer["classes"], sslm.Model(lenet / "lenet.sslm").classify(path), strict=True):
        assert (theirs["index"], theirs["label"]) == (ours.index, ours.label)
        assert theirs["probability"] == pytest.approx(ours.probability, rel=1e-5)

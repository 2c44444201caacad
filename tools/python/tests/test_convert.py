"""Conversion and its certificate."""

import json

import numpy as np
import onnx
import pytest
import sslm
from conftest import MODELS, model_of
from onnx import TensorProto, helper


def test_certificate(lenet, tmp_path):
    out = tmp_path / "lenet.sslm"
    certificate = sslm.convert(lenet / "lenet.onnx", out)
    assert sslm.inspect(out).layers == sslm.inspect(lenet / "lenet.sslm").layers and certificate.sslm is None
    assert certificate.macs == (2_293_000, 210_440) and 10.8 < certificate.gain < 11
    assert certificate.layers[0]["filters"]["kept"] == 3
    assert certificate.max_relative_difference < 1e-5 and certificate.verification["passed"]
    assert "/conv1/Conv" in repr(certificate) and "3 of 20" in repr(certificate)
    assert "3 of 20" in certificate._repr_html_() and "10.90x" in certificate._repr_html_()
    json.dumps(certificate.as_dict())
    assert certificate.bytes == out.stat().st_size


def test_in_memory(lenet):
    file = (lenet / "lenet.sslm").read_bytes()
    for source in ((lenet / "lenet.onnx").read_bytes(), onnx.load(lenet / "lenet.onnx")):
        found = sslm.inspect(sslm.convert(source).sslm)
        assert found.layers == sslm.inspect(file).layers


def test_keywords(lenet, tmp_path):
    source = lenet / "lenet.onnx"
    assert sslm.convert(source, dense=True).gain == 1.0
    assert sslm.convert(source, zero_tol=0.3, force=True).macs[1] < 210_440
    assert sslm.convert(source, target_macs=0.05, force=True).zero_tol > 0
    assert sslm.convert(source, verify=0).verification is None
    sslm.convert(source, tmp_path / "a.sslm", export_onnx=tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").stat().st_size < source.stat().st_size / 2
    names = [f"class {i}" for i in range(10)]
    rule = {"color": "gray", "resize": "stretch", "scale": 1.0, "mean": [0.0], "std": [2.0]}
    found = sslm.convert(source, labels=names, preprocessing=rule, outputs=["logits"], dims={"batch": 3})
    model = sslm.Model(found.sslm)
    assert model.labels == names and model.inputs[0].shape == [3, 1, 28, 28]
    assert sslm.inspect(found.sslm).preprocessing["std"] == [2.0]


def test_known_outputs(lenet, digit):
    known = {"image": digit, "logits": sslm.Model(lenet / "lenet.sslm")(digit)}
    assert sslm.convert(lenet / "lenet.onnx", verify_with=known).verification["with"]["max_relative"] < 1e-5
    known["logits"] = known["logits"] + 1
    with pytest.raises(sslm.CheckError, match="the outputs differ by"):
        sslm.convert(lenet / "lenet.onnx", verify_with=known)


def test_onnxruntime_as_the_judge(lenet):
    found = sslm.convert(lenet / "lenet.onnx", verify_onnxruntime=True).verification["onnxruntime"]
    assert found["max_relative"] < 1e-5


def test_what_fails_leaves_nothing(lenet, tmp_path):
    out = tmp_path / "out.sslm"
    unknown = model_of(
        [helper.make_node("NonZero", ["x"], ["y"], name="culprit")],
        [("x", TensorProto.FLOAT, [2, 2])],
        [("y", TensorProto.INT64, [2, "n"])],
    )
    for source, keywords, of, said in [
        (lenet / "lenet.onnx", {"zero_tol": 0.3}, sslm.CheckError, "the outputs differ by"),
        (lenet / "lenet.onnx", {"zero_tol": -1}, sslm.Error, "zero-tol: expected a number"),
        (
            lenet / "lenet.onnx",
            {"tolerance": -1},
            sslm.InputError,
            "tolerance: expected a number of at least 0, found -1",
        ),
        (lenet / "lenet.onnx", {"preprocessing": {"color": "red"}}, sslm.InputError, "preprocessing"),
        (
            lenet / "lenet.onnx",
            {"outputs": ["logit"]},
            sslm.ConversionError,
            "expected a tensor of the model, found 'logit'",
        ),
        (lenet / "lenet.sslm", {}, sslm.ConversionError, "expected an ONNX model, found a .sslm model"),
        (lenet / "digits/7.png", {}, sslm.ConversionError, "expected an ONNX model, found an image"),
        (unknown, {}, sslm.ConversionError, "model in memory"),
        (unknown, {}, sslm.ConversionError, "culprit"),
        (b"", {}, sslm.ConversionError, "model in memory"),
        (lenet / "lenet.onnx", {"max_memory": 1000}, sslm.LimitError, "max_memory"),
    ]:
        with pytest.raises(of) as error:
            sslm.convert(source, out, **keywords)
        assert said in str(error.value) and "/tmp/sslm-" not in str(error.value)
        assert not out.exists() and list(tmp_path.iterdir()) == []
    source = tmp_path / "lenet.onnx"
    source.write_bytes((lenet / "lenet.onnx").read_bytes())
    with pytest.raises(sslm.Error, match="expected another file"):
        sslm.convert(source, source)
    with pytest.raises(sslm.Error, match="cannot write .*missing/out.sslm"):
        sslm.convert(source, tmp_path / "missing/out.sslm")


def test_open_sizes():
    w = np.zeros((4, 2, 3, 3), np.float32)
    w[:2] = np.random.default_rng(0).normal(0, 1, (2, 2, 3, 3))
    size = ["batch", 2, "height", "width"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    proto = model_of(nodes, [("x", TensorProto.FLOAT, size)], [("y", TensorProto.FLOAT, None)], [("w", w)])
    model = sslm.Model(proto)
    assert model.outputs[0].shape == ["batch", 4, "floor((height + 1)/(2))", "floor((width + 1)/(2))"]
    assert model.certificate.gain == pytest.approx(2.0)
    for shape in [(1, 2, 9, 9), (2, 2, 30, 17)]:
        assert model(np.zeros(shape, np.float32)).shape == (shape[0], 4, (shape[2] + 1) // 2, (shape[3] + 1) // 2)
    with pytest.raises(sslm.InputError, match="x: expected inputs, since the model leaves their size open"):
        model.profile()
    assert model.profile(np.zeros((1, 2, 8, 8), np.float32)).median_ms > 0


def test_compare(lenet, digit):
    onnx_path = lenet / "lenet.onnx"
    same = sslm.compare(onnx_path, lenet / "lenet.sslm", digit)
    assert same.agrees and len(same.rows) > 6 and "same within" in repr(same)
    assert same.rows[-1].name == "logits" and same.rows[-1].op == "output"
    for source in (onnx_path.read_bytes(), onnx.load(onnx_path)):
        assert sslm.compare(source, sslm.Model(lenet / "lenet.sslm"), {"image": digit}).agrees

    # What a threshold cut shows at the first layer that it touched.
    cut = sslm.convert(onnx_path, zero_tol=0.9, force=True).sslm
    assert sslm.compare(onnx_path, cut, digit, zero_tol=0.9).first.op == "Conv"
    # Of a file that was made of something else, only its own outputs differ.
    found = sslm.compare(onnx_path, cut, digit)
    assert found.first.op == "output" and "the first that differs: 'logits'" in repr(found)
    other = onnx.load(onnx_path)
    weight = next(tensor for tensor in other.graph.initializer if len(tensor.dims) == 4)
    weight.raw_data = (np.frombuffer(weight.raw_data, np.float32) * np.float32(1.01)).tobytes()
    assert sslm.compare(onnx_path, sslm.convert(other).sslm, digit).first.op == "output"


@pytest.mark.parametrize("name", ["convnet", "mlp", "resnet20"])
def test_shipped_models_compare(name):
    model = sslm.Model(MODELS / name / f"{name}.sslm")
    x = np.random.default_rng(9).random([2, *model.inputs[0].shape[1:]], np.float32)
    found = sslm.compare(MODELS / name / f"{name}.onnx", model, x)
    assert found.agrees and all(not row.note for row in found.rows), repr(found)


def test_several_inputs_compare(stereo):
    random = np.random.default_rng(6)
    left, right = random.integers(0, 256, (1, 3, 8, 8), np.uint8), random.normal(0, 1, (1, 4, 8, 8)).astype(np.float32)
    assert sslm.compare(stereo, sslm.convert(stereo).sslm, (left, right)).agrees

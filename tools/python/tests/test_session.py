"""Code written for onnxruntime runs on sslm by one changed import."""

import numpy as np
import onnxruntime
import pytest
import sslm
from conftest import MODELS

# Knows nothing but onnxruntime.
SCRIPT = """
import {module} as rt
import numpy as np

def main(path, seed):
    session = rt.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(seed)
    feed, said = {{}}, []
    for info in session.get_inputs():
        assert info.type == "tensor(float)", info.type
        shape = [extent if isinstance(extent, int) else 2 for extent in info.shape]
        feed[info.name] = random.random(shape, np.float32)
        said.append((info.name, list(info.shape), info.type))
    names = [info.name for info in session.get_outputs()]
    said += [(info.name, list(info.shape), info.type) for info in session.get_outputs()]
    first = session.run(None, feed)
    second = session.run(names, feed)
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    return said, first
"""


def run(module, path):
    scope = {}
    exec(SCRIPT.format(module=module), scope)
    return scope["main"](path, 11)


@pytest.mark.parametrize("name", ["lenet", "convnet", "resnet20", "mlp"])
@pytest.mark.parametrize("form", ["onnx", "sslm", "bytes"])
def test_one_changed_import(name, form):
    onnx_path = str(MODELS / name / f"{name}.onnx")
    ours = {"onnx": onnx_path, "sslm": onnx_path.replace(".onnx", ".sslm"), "bytes": open(onnx_path, "rb").read()}[form]
    (said, expected), (also_said, found) = run("onnxruntime", onnx_path), run("sslm", ours)
    assert said == also_said
    for e, f in zip(expected, found, strict=True):
        assert e.dtype == f.dtype
        np.testing.assert_allclose(f, e, rtol=1e-4, atol=1e-5 * np.abs(e).max())


def test_types_and_orders(stereo):
    left, right = np.ones((1, 3, 8, 8), np.uint8), np.ones((1, 4, 8, 8), np.float32)
    sessions = [
        onnxruntime.InferenceSession(stereo.SerializeToString(), providers=["CPUExecutionProvider"]),
        sslm.InferenceSession(stereo.SerializeToString(), providers=["CPUExecutionProvider"]),
    ]
    both = [
        [(i.name, i.shape, i.type) for i in [*session.get_inputs(), *session.get_outputs()]]
        + [array.tolist() for array in session.run(["classes", "sum"], {"left": left, "right": right})][:1]
        for session in sessions
    ]
    assert both[0] == both[1]


def test_options(lenet, digit):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = sslm.InferenceSession(lenet / "lenet.sslm", options, ["CPUExecutionProvider"])
    assert session.run([], {"image": digit})[0].shape == (1, 10)
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_what_onnxruntime_refuses(lenet, digit):
    theirs = onnxruntime.InferenceSession(lenet / "lenet.onnx", providers=["CPUExecutionProvider"])
    ours = sslm.InferenceSession(lenet / "lenet.onnx")
    for names, feed in [
        (None, {}),
        (None, {"other": digit}),
        (None, {"image": digit, "other": digit}),
        (None, {"image": digit.astype(np.float64)}),
        (None, {"image": digit[:, :, 1:]}),
        (["other"], {"image": digit}),
    ]:
        for session in (theirs, ours):
            with pytest.raises(Exception):
                session.run(names, feed)
        with pytest.raises(sslm.InputError):
            ours.run(names, feed)

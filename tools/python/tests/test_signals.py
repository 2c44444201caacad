"""Ctrl-C while Rust computes: a KeyboardInterrupt comes soon, and nothing is left half done."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import sslm
from conftest import model_of
from onnx import TensorProto, helper

LAYERS, CHANNELS, SIDE = 24, 64, 192
SHAPE = [1, CHANNELS, SIDE, SIDE]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A network of many long layers: a run takes a second or so."""
    weights = np.random.default_rng(3).normal(0, 0.04, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", [f"x{i}", "w"], [f"x{i + 1}"], pads=[1] * 4) for i in range(LAYERS)]
    port = lambda i: (f"x{i}", TensorProto.FLOAT, SHAPE)
    path = tmp_path_factory.mktemp("large") / "large.onnx"
    path.write_bytes(model_of(nodes, [port(0)], [port(LAYERS)], [("w", weights)]).SerializeToString())
    return path


def interrupted(call, after):
    """Seconds from a Ctrl-C, which comes so long after `call` began, to its KeyboardInterrupt."""
    sent = []

    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(after, send)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call()
        # So that one that comes too late does not end another test.
        timer.join()
        time.sleep(0.1)
        raise AssertionError("it was not interrupted")
    return time.monotonic() - sent[0]


def test_long_calls_are_interrupted(large, tmp_path):
    model = sslm.Model(sslm.convert(large, verify=0).sslm, threads=1)
    x = np.random.default_rng(1).random(SHAPE, np.float32)
    expected = model(x)
    start = time.monotonic()
    model(x)
    whole = time.monotonic() - start
    # A tenth of the run is done when the signal comes, and the layer that is computed ends first.
    assert interrupted(lambda: model(x), whole / 10) < whole / 2
    assert interrupted(lambda: model.profile(x, runs=1000), 2 * whole) < whole
    np.testing.assert_array_equal(model(x), expected)


def test_tuning_is_interrupted(lenet, tmp_path):
    path = tmp_path / "lenet.sslm"
    path.write_bytes((lenet / "lenet.sslm").read_bytes())
    model = sslm.Model(path, threads=1)
    assert interrupted(model.tune, 0.5) < 5
    assert not model.is_tuned and os.listdir(tmp_path) == ["lenet.sslm"]


def test_a_conversion_is_interrupted(large, tmp_path):
    target = tmp_path / "large.sslm"
    assert interrupted(lambda: sslm.convert(large, target, verify=1000, max_macs=2**60), 1) < 60
    assert os.listdir(tmp_path) == []


def test_signals_stay_pythons_after_a_conversion(lenet, tmp_path):
    program = f"""
import os, signal, sslm, time
for _ in range(2):
    sslm.convert({str(lenet / "lenet.onnx")!r}, {str(tmp_path / "lenet.sslm")!r}, verify=0)
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
except KeyboardInterrupt:
    time.sleep(0.5)
    print("alive")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr


def test_exceptions_of_handlers_of_signals_come_through(large):
    model = sslm.Model(sslm.convert(large, verify=0).sslm, threads=1)
    x = np.zeros(SHAPE, np.float32)

    def handler(*_):
        raise OSError("of a handler")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(OSError, match="of a handler"):
            model(x)
    finally:
        signal.signal(signal.SIGALRM, before)

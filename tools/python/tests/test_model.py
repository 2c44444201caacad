"""Models: where they come from, what they say, plans, limits, threads, memory."""

import multiprocessing
import pickle
import resource
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
import sslm


def test_sources(lenet, digit):
    sslm_path, onnx_path = lenet / "lenet.sslm", lenet / "lenet.onnx"
    expected = sslm.Model(sslm_path)(digit)
    for source in (str(sslm_path), sslm_path.read_bytes(), bytearray(sslm_path.read_bytes())):
        model = sslm.Model(source)
        np.testing.assert_array_equal(model(digit), expected)
        assert model.certificate is None
    for source in (onnx_path, onnx_path.read_bytes(), onnx.load(onnx_path)):
        model = sslm.Model(source)
        np.testing.assert_array_equal(model(digit), expected)
        assert model.certificate.gain > 10


def test_what_it_says(lenet):
    model = sslm.Model(lenet / "lenet.sslm")
    assert model.inputs == [sslm.TensorInfo("image", ["batch", 1, 28, 28], "float32")]
    assert model.outputs == [sslm.TensorInfo("logits", ["batch", 10], "float32")]
    assert model.labels == [str(digit) for digit in range(10)]
    assert "lenet.sslm': 'image' float32 [batch, 1, 28, 28] -> 'logits' float32 [batch, 10]; 513888 bytes" in repr(
        model
    )
    found = sslm.inspect(lenet / "lenet.sslm")
    assert found.layers[0]["filters"] == {"kept": 3, "of": 20} and found.provenance["source"] == "lenet.onnx"
    assert "3 of 20" in repr(found) and "<table>" in found._repr_html_()
    assert found.as_dict()["version"] == list(found.version)


def test_what_is_no_model(lenet, tmp_path):
    damaged = bytearray((lenet / "lenet.sslm").read_bytes())
    damaged[-1000] ^= 1
    newer = bytearray(damaged)
    newer[8] = 99
    (tmp_path / "text.sslm").write_text("no model")
    for source, of, kind in [
        (tmp_path / "missing.sslm", sslm.Error, "io"),
        (tmp_path / "missing.onnx", sslm.Error, "io"),
        (tmp_path / "text.sslm", sslm.FormatError, "not_sslm"),
        (bytes(damaged), sslm.FormatError, "corrupt"),
        (bytes(newer), sslm.FormatError, "version"),
        (bytes(damaged[:5000]), sslm.FormatError, "corrupt"),
        (b"no model", sslm.ConversionError, "convert"),
        (3, sslm.InputError, "input"),
        (None, sslm.InputError, "input"),
    ]:
        with pytest.raises(of) as error:
            sslm.Model(source)
        assert error.value.kind == kind, str(error.value)
        again = pickle.loads(pickle.dumps(error.value))
        assert (type(again), again.kind, str(again)) == (of, kind, str(error.value))


def test_keywords(lenet, digit):
    path = lenet / "lenet.sslm"
    expected = sslm.Model(path)(digit)
    for keywords in (
        {"threads": 2},
        {"batch": 4},
        {"backend": "auto"},
        {"max_memory": 1 << 30, "max_macs": 10**9, "max_time": 10.0},
    ):
        np.testing.assert_array_equal(sslm.Model(path, **keywords)(digit), expected)
    for keywords, said in [
        ({"threads": 0}, "threads: expected at least 1, found 0"),
        ({"batch": 0}, "batch: expected at least 1, found 0"),
        ({"plans": 0}, "plans: expected at least 1, found 0"),
        ({"backend": "tpu"}, "backend: expected 'cpu', 'cuda' or 'auto', found 'tpu'"),
        ({"max_time": -1.0}, "max_time: expected seconds of at least 0, found -1"),
        ({"max_time": float("nan")}, "max_time: expected seconds of at least 0, found NaN"),
        ({"threads": 5000, "batch": 1}, "threads"),
        ({"example": digit}, "example: expected none"),
    ]:
        with pytest.raises(sslm.InputError, match=said):
            sslm.Model(path, **keywords)
    for keywords in ({"threads": -1}, {"batch": "1"}, {"unknown": 1}):
        with pytest.raises((TypeError, OverflowError)):
            sslm.Model(path, **keywords)


def test_limits(lenet, digit):
    for keywords in ({"max_memory": 1000}, {"max_macs": 1000}):
        with pytest.raises(sslm.LimitError, match="max_memory, max_macs or max_time allows more") as error:
            sslm.Model(lenet / "lenet.sslm", **keywords)(digit)
        assert error.value.kind == "limit"
    # A model can be looked at whatever its limits are.
    assert sslm.Model(lenet / "lenet.sslm", max_macs=1).outputs[0].shape[1:] == [10]


def test_batches_and_plans(lenet):
    model = sslm.Model(lenet / "lenet.sslm", threads=1, plans=2)
    x = np.random.default_rng(2).random((7, 1, 28, 28), np.float32)
    whole = model(x)
    for _ in range(2):
        for batch in (1, 2, 3, 5):
            np.testing.assert_allclose(model(x[:batch]), whole[:batch], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_python_threads_share_a_model(threads):
    from conftest import MODELS

    model = sslm.Model(MODELS / "resnet20/resnet20.sslm", threads=threads)
    random = np.random.default_rng(4)
    images = [random.random((1 + i % 2, 3, 32, 32), np.float32) for i in range(8)]
    expected = [model(x) for x in images]
    wrong = []

    def work(i: int) -> None:
        for _ in range(40):
            if not np.array_equal(model(images[i]), expected[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_the_interpreter_is_free_meanwhile():
    """A thread that only counts goes on while another one computes in one long call."""
    from conftest import MODELS

    model = sslm.Model(MODELS / "resnet20/resnet20.sslm", threads=1)
    x = np.zeros((2000, 3, 32, 32), np.float32)
    done = threading.Event()
    worker = threading.Thread(target=lambda: (model(x), done.set()))
    worker.start()
    counted = 0
    while not done.wait(0.001):
        counted += 1
    worker.join()
    assert counted > 20


def _grown(call, count: int) -> int:
    """By how many KiB so many calls make the process larger, after as many that may."""
    for _ in range(count // 10):
        call()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def _calls(lenet, stereo):
    model, two, x = (
        sslm.Model(lenet / "lenet.sslm", threads=1),
        sslm.Model(stereo, threads=1),
        np.zeros((4, 1, 28, 28), np.float32),
    )
    target = np.zeros((4, 10), np.float32)
    left, right = np.zeros((1, 3, 8, 8), np.uint8), np.zeros((1, 4, 8, 8), np.float32)

    def call():
        model(x)
        model.run_into(x, target)
        two(left, right)
        try:
            model(left)
        except sslm.InputError:
            pass

    return call


def test_memory_does_not_grow(lenet, stereo):
    assert _grown(_calls(lenet, stereo), 2000) < 1024


@pytest.mark.slow
def test_memory_does_not_grow_in_many_calls(lenet, stereo):
    assert _grown(_calls(lenet, stereo), 100_000) < 1024


def test_sessions_are_used_again(lenet, digit):
    """What a model holds is bounded by its plans, however many shapes come."""
    model = sslm.Model(lenet / "lenet.sslm", threads=1, plans=2)

    def call():
        for batch in (1, 7, 30, 64):
            model(np.zeros((batch, 1, 28, 28), np.float32))

    assert _grown(call, 100) < 8192


def test_profile(lenet, digit):
    model = sslm.Model(lenet / "lenet.sslm", threads=1)
    for profile in (model.profile(), model.profile(digit, runs=3), model.profile({"image": digit})):
        assert profile.median_ms > 0 and [layer["op"] for layer in profile.layers].count("Conv") == 2
        assert "run: median" in repr(profile) and "<table>" in profile._repr_html_()
        assert sum(layer["macs"] for layer in profile.layers) == 210_440
    for runs in (0, 10**7):
        with pytest.raises(sslm.InputError, match="runs: expected 1 to 1000000"):
            model.profile(runs=runs)


@pytest.mark.slow
def test_tune(lenet, tmp_path, digit):
    path = tmp_path / "lenet.sslm"
    path.write_bytes((lenet / "lenet.sslm").read_bytes())
    model = sslm.Model(path, threads=1)
    expected, tuning = model(digit), model.tune()
    assert "gain of whole runs" in repr(tuning) and len(tuning.layers) == 2
    assert model.is_tuned == tuning.kept == (tmp_path / "lenet.sslm.tuning.json").exists()
    assert sslm.Model(path, threads=1).is_tuned == tuning.kept
    np.testing.assert_allclose(model(digit), expected, rtol=1e-4, atol=1e-4)


def test_a_tuning_that_does_not_fit_is_told(lenet, tmp_path, digit):
    path = tmp_path / "lenet.sslm"
    path.write_bytes((lenet / "lenet.sslm").read_bytes())
    (tmp_path / "lenet.sslm.tuning.json").write_text("no tuning")
    with pytest.warns(UserWarning, match="tuning is not used: .*lenet.sslm.tuning.json"):
        model = sslm.Model(path)
    assert not model.is_tuned and model(digit).shape == (1, 10)


def test_a_forked_process_runs_models_of_its_parent(lenet, digit):
    model = sslm.Model(lenet / "lenet.sslm", threads=2)
    expected = model(digit)
    # It comes along by the fork.
    global _forked
    _forked = model
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.map(_run_forked, [digit] * 4):
            np.testing.assert_array_equal(found, expected)


_forked = None


def _run_forked(x):
    return _forked(x)


def test_stubs_name_what_is_there():
    """Each public class and function of the extension module stands in its stubs, and nothing else does."""
    import ast

    from sslm import _sslm

    stubs = ast.parse((Path(sslm.__file__).parent / "_sslm.pyi").read_text())
    functions = {node.name for node in stubs.body if isinstance(node, ast.FunctionDef)}
    (model,) = (node for node in stubs.body if isinstance(node, ast.ClassDef))
    methods = {node.name for node in model.body if isinstance(node, ast.FunctionDef)}
    there = {name for name in dir(_sslm) if not name.startswith("__")}
    assert there == {*functions, "Model"}
    own = {name for name in vars(_sslm.Model) if name not in ("__doc__", "__module__")}
    assert own == methods

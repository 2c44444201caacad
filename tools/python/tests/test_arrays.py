"""What goes in and comes out: types, shapes, several of them, and whatever else than arrays of NumPy holds elements."""

import array

import numpy as np
import onnxruntime
import pytest
import sslm
from conftest import model_of
from onnx import TensorProto, helper


@pytest.fixture(scope="module")
def model(lenet):
    return sslm.Model(lenet / "lenet.sslm", threads=1)


class DLPack:
    def __init__(self, elements):
        self.elements = elements

    def __dlpack__(self, **options):
        return self.elements.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.elements.__dlpack_device__()


class Interface:
    def __init__(self, elements):
        self.elements = elements
        self.__array_interface__ = elements.__array_interface__


def test_whatever_holds_elements(model, digit):
    expected = model(digit)
    flat = array.array("f", digit.ravel().tolist())
    for x in (
        DLPack(digit),
        Interface(digit),
        memoryview(digit),
        memoryview(flat).cast("B").cast("f", digit.shape),
        digit.tolist(),
        digit.astype(">f4"),
        np.asfortranarray(digit),
        digit[::-1],
        np.ma.asarray(digit),
        np.stack([digit, digit], -1)[..., 0],
    ):
        found = model(x)
        assert type(found) is np.ndarray and found.flags.writeable
        np.testing.assert_array_equal(found, expected)


def test_layouts(model):
    x = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    for odd in (np.asfortranarray(x), x[:, :, ::-1, ::-1], x.transpose(0, 1, 3, 2)):
        np.testing.assert_array_equal(model(odd), model(np.ascontiguousarray(odd)))


def test_arguments_stay_and_answers_are_the_callers(model, digit):
    before, first = digit.copy(), model(digit)
    kept = first.copy()
    model(digit * 2)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(digit, before)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((np.zeros((1, 1, 28, 28)),), "elements of input 'image': expected float32, found float64"),
        ((np.zeros((1, 1, 28, 28), np.uint8),), "elements of input 'image': expected float32, found uint8"),
        (
            (np.zeros((1, 1, 28, 27), np.float32),),
            "shape of input 'image': expected [batch, 1, 28, 28], found [1, 1, 28, 27]",
        ),
        ((np.zeros((28, 28), np.float32),), "shape of input 'image': expected [batch, 1, 28, 28], found [28, 28]"),
        ((np.float32(1),), "shape of input 'image': expected [batch, 1, 28, 28], found []"),
        ((), "inputs: expected 1, found 0"),
        ((1, 2), "inputs: expected 1, found 2"),
        (({},), "inputs: expected 'image', found none of the name 'image'"),
        (({"image": 1, "x": 2},), "inputs: expected 'image', found 'x'"),
        ((object(),), "array: expected what NumPy can read, found object"),
        ((None,), "array: expected what NumPy can read, found None"),
        (("text",), "array: expected what NumPy can read, found str"),
        ((np.array(["text"]),), "elements of input 'image': expected float32, found str"),
        ((np.array([None]),), "elements of input 'image': expected float32, found object"),
    ],
)
def test_what_does_not_fit(model, inputs, said):
    with pytest.raises(sslm.InputError) as error:
        model(*inputs)
    assert str(error.value).startswith(said) and isinstance(error.value, ValueError)


def test_no_images_at_all(model):
    with pytest.raises(sslm.Error):
        model(np.zeros((0, 1, 28, 28), np.float32))


def test_several_of_several_types(stereo):
    random = np.random.default_rng(5)
    left = random.integers(0, 256, (2, 3, 8, 8), np.uint8)
    right = random.normal(0, 100, (2, 4, 8, 8)).astype(np.float32)
    feed = {"left": left, "right": right}
    session = onnxruntime.InferenceSession(stereo.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = dict(zip(["sum", "classes"], session.run(None, feed)))
    model = sslm.Model(stereo)
    assert [info.dtype for info in model.inputs] == ["uint8", "float32"]
    assert model.outputs == [("sum", ["batch", 4, 8, 8], "float32"), ("classes", ["batch", 8, 8], "int64")]
    for found in (model(feed), model(left, right)):
        assert list(found) == ["sum", "classes"]
        np.testing.assert_allclose(found["sum"], expected["sum"], rtol=1e-4, atol=1e-2)
        np.testing.assert_array_equal(found["classes"], expected["classes"])
        assert found["classes"].dtype == np.int64

    sums, classes = np.zeros((2, 4, 8, 8), np.float32), np.zeros((2, 8, 8), np.int64)
    for targets in ((sums, classes), [sums, classes], {"classes": classes, "sum": sums}):
        sums[:], classes[:] = 0, 0
        model.run_into((left, right), targets)
        np.testing.assert_array_equal(sums, model(feed)["sum"])
        np.testing.assert_array_equal(classes, expected["classes"])
    sums[:] = 0
    model.run_into(feed, {"classes": classes})
    assert not sums.any()
    with pytest.raises(sslm.InputError, match="expected int64, found int32"):
        model.run_into(feed, (sums, classes.astype(np.int32)))
    assert not sums.any(), "all or none"
    for targets, said in [
        (sums, "arrays for outputs: expected 2, found 1"),
        ({"x": sums}, "outputs: expected 'sum', 'classes', found 'x'"),
        ((sums, classes[:1]), r"shape of the array for output 'classes': expected \[2, 8, 8\], found \[1, 8, 8\]"),
        ((sums, [1]), "where output 'classes' goes: expected an array of NumPy, found list"),
    ]:
        with pytest.raises(sslm.InputError, match=said):
            model.run_into(feed, targets)


def test_run_into(model, digit):
    expected = model(digit)
    target = np.zeros((1, 10), np.float32)
    model.run_into(digit, target)
    np.testing.assert_array_equal(target, expected)
    wide = np.zeros((1, 20), np.float32)
    model.run_into(digit, wide[:, ::2])
    np.testing.assert_array_equal(wide[:, ::2], expected)
    assert not wide[:, 1::2].any()
    target.flags.writeable = False
    with pytest.raises(sslm.InputError, match="expected one that can be written"):
        model.run_into(digit, target)


@pytest.mark.parametrize(
    "name", ["float16", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool"]
)
def test_types(name):
    of = getattr(TensorProto, {"float16": "FLOAT16", "float64": "DOUBLE"}.get(name, name.upper()))
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["f"], ["y"], to=of),
    ]
    model = sslm.Model(model_of(nodes, [("x", of, [2, "n"])], [("y", of, [2, "n"])]))
    x = np.array([[0, 1, 1], [1, 0, 1]]).astype(name)
    for given in (x, x.astype(x.dtype.newbyteorder(">")), x[:, ::-1][:, ::-1]):
        found = model(given)
        assert found.dtype == np.dtype(name) and found.flags.writeable
        np.testing.assert_array_equal(found, x)


def test_scalars():
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    model = sslm.Model(model_of(nodes, [("x", TensorProto.FLOAT, [3])], [("y", TensorProto.FLOAT, [])]))
    found = model(np.array([1, 2, 3], np.float32))
    assert found.shape == () and found == 6
    target = np.zeros((), np.float32)
    model.run_into(np.array([1, 2, 4], np.float32), target)
    assert target == 7

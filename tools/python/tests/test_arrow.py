"""Scoring rows of Arrow tables: the results of the model and of ssl-score, errors in their rows, and processes that scorers are sent to."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import sslm
from conftest import MODELS, model_of
from onnx import TensorProto, helper

pa = pytest.importorskip("pyarrow")
arrow = pytest.importorskip("sslm.arrow")


def digits(rows: int, chunk: int = 7) -> "pa.Table":
    """So many images of digits with an id, in chunks; some are damaged, and some are missing."""

    def image(i: int) -> bytes | None:
        file = (MODELS / f"lenet/digits/{i % 10}.png").read_bytes()
        return None if i % 23 == 5 else file[:60] if i % 23 == 9 else file

    table = pa.table({"id": [f"row {i}" for i in range(rows)], "image": pa.array(map(image, range(rows)), pa.binary())})
    return pa.Table.from_batches(table.to_batches(max_chunksize=chunk))


@pytest.fixture(scope="module")
def lenet_file():
    return MODELS / "lenet/lenet.sslm"


def test_rows_have_what_the_model_says(lenet_file):
    scorer = arrow.Scorer(lenet_file, top=2, batch=4)
    rows = digits(50)
    scored = scorer(rows)
    assert scored.schema == scorer.schema(rows.schema)
    of_class = lambda i: [f"index_{i}", f"label_{i}", f"probability_{i}", f"output_{i}"]
    assert scored.column_names == ["id", *of_class(1), *of_class(2), "error"]
    model = sslm.Model(lenet_file)
    for row, given in zip(scored.to_pylist(), rows.to_pylist(), strict=True):
        assert row["id"] == given["id"]
        i = int(row["id"].split()[1])
        if i % 23 in (5, 9):
            assert row["index_1"] is None and row["label_2"] is None
            assert ("found null" if i % 23 == 5 else "expected a sound PNG") in row["error"]
            continue
        first, second = model.classify(given["image"], top=2)
        assert (row["index_1"], row["label_1"], row["index_2"]) == (first.index, first.label, second.index)
        assert row["error"] is None and row["index_1"] == i % 10
        np.testing.assert_allclose([row["probability_1"], row["output_2"]], [first.probability, second.output], 1e-5)


def test_results_do_not_depend_on_chunks_and_processes(lenet_file):
    scorer = arrow.Scorer(lenet_file, batch=8)
    whole = scorer(digits(50, 50)).combine_chunks()
    for chunk in (1, 3, 8, 20):
        assert scorer(digits(50, chunk)).combine_chunks().equals(whole)
    there = pickle.loads(pickle.dumps(scorer))
    assert there(digits(50)).combine_chunks().equals(whole)
    batches = list(scorer.batches(iter(digits(48, 16).to_batches())))
    assert pa.Table.from_batches(batches).combine_chunks().equals(whole.slice(0, 48).combine_chunks())


def test_reproducible_rows_do_not_depend_on_their_batch(lenet_file):
    whole = arrow.Scorer(lenet_file, batch=16, reproducible=True)(digits(40)).combine_chunks()
    for batch in (1, 5, 64):
        assert arrow.Scorer(lenet_file, batch=batch, reproducible=True)(digits(40)).combine_chunks().equals(whole)


def test_tensors_in_and_out(lenet_file):
    x = np.random.default_rng(3).random((10, 1, 28, 28), np.float32)
    expected = sslm.Model(lenet_file)(x)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 28 * 28)
    columns = [storage, pa.array([list(image.ravel()) for image in x], pa.list_(pa.float32()))]
    columns.append(pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), (1, 28, 28)), storage))
    for column in columns:
        scored = arrow.Scorer(lenet_file, image="x", top=None, batch=10)(pa.table({"x": column}))
        found = np.array(scored.column("logits").to_pylist(), np.float32)
        np.testing.assert_array_equal(found, expected)


def test_images_of_sizes_of_their_own(tmp_path):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("Softmax", ["b"], ["y"]),
    ]
    model = model_of(nodes, [("x", TensorProto.FLOAT, ["N", 3, "h", "w"])], [("y", TensorProto.FLOAT, ["N", 3])])
    certificate = sslm.convert(model)
    pillow = pytest.importorskip("PIL.Image")

    def image(i: int) -> bytes:
        path = tmp_path / "image.png"
        color = [20, 40, 60]
        color[i % 3] = 250
        pillow.new("RGB", (2 + i % 4, 3 + i % 3), tuple(color)).save(path)
        return path.read_bytes()

    table = pa.table({"image": [*map(image, range(9)), b"no image"]})
    scored = arrow.Scorer(certificate.sslm, batch=4)(table)
    assert scored.column("index_1").to_pylist() == [0, 1, 2] * 3 + [None]
    assert [error is None for error in scored.column("error").to_pylist()] == [True] * 9 + [False]


def test_what_is_nan_has_no_classes(lenet_file):
    x = np.zeros((3, 784), np.float32)
    x[1] = np.nan
    scored = arrow.Scorer(lenet_file, image="x")(pa.table({"x": pa.array(list(x), pa.list_(pa.float32()))}))
    assert [index is None for index in scored.column("index_1").to_pylist()] == [False, True, False]
    assert "found NaN for 10 of 10" in scored.column("error").to_pylist()[1]


def test_nothing_of_it_is_imported_before_it_is_used():
    code = "import sys, sslm; print(sorted({'pyarrow', 'ray', 'pyspark', 'pandas'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_does_not_fit(lenet_file, stereo):
    rows = digits(3)
    for make, expected in [
        (lambda: arrow.Scorer(lenet_file, top=0), "top: expected at least 1"),
        (lambda: arrow.Scorer(sslm.convert(stereo).sslm), "expected one input"),
        (lambda: arrow.Scorer(lenet_file, image="photo")(rows), "expected one of the name 'photo'"),
        (lambda: arrow.Scorer(lenet_file, image="id")(rows), "expected binary or lists of float32, found string"),
        (lambda: arrow.Scorer(lenet_file)(rows.rename_columns(["error", "image"])), "keep: expected names"),
        (lambda: arrow.Scorer(lenet_file)({"image": []}), "expected a pyarrow.Table"),
    ]:
        with pytest.raises(sslm.InputError, match=expected):
            make()

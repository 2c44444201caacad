"""IDX files, good and damaged, and what becomes of their pixels."""

import struct

import numpy as np
import pytest
import torch

from ssl_train.data import MEAN, STD, DataError, load_training, normalise, read_idx, read_pair, shift


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_pair(folder, images, labels, name="t10k"):
    (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
    (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))


IMAGES = np.arange(3 * 28 * 28).astype(np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 0, 9], np.uint8)


def test_reads_what_was_written(tmp_path):
    write_pair(tmp_path, IMAGES, LABELS)
    images, labels = read_pair(tmp_path, "t10k")
    assert np.array_equal(images, IMAGES) and np.array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0", "at least 4 bytes, found 2"),
        (b"\x1f\x8b\x08\x00" + b"\0" * 20, "found 1f 8b 08"),
        (b"\0\0\x0d\x01" + b"\0" * 20, "found 00 00 0d"),
        (b"\0\0\x08\x03\0\0", "3 dimensions"),
        (idx(LABELS)[:-1], r"expected 11 bytes for shape \[3\], found 10"),
        (idx(LABELS) + b"\0", r"expected 11 bytes for shape \[3\], found 12"),
        (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), "found 16"),
    ],
)
def test_damaged_files_are_named_and_explained(tmp_path, content, message):
    path = tmp_path / "some-file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte: no such file"):
        read_pair(tmp_path, "t10k")


def test_images_must_be_28_by_28(tmp_path):
    write_pair(tmp_path, IMAGES[:, :27], LABELS)
    with pytest.raises(DataError, match=r"expected shape \[n, 28, 28\], found \[3, 27, 28\]"):
        read_pair(tmp_path, "t10k")


def test_every_image_needs_a_label(tmp_path):
    write_pair(tmp_path, IMAGES, LABELS[:2])
    with pytest.raises(DataError, match="expected 3 labels"):
        read_pair(tmp_path, "t10k")


def test_labels_are_digits(tmp_path):
    write_pair(tmp_path, IMAGES, np.array([1, 2, 10], np.uint8))
    with pytest.raises(DataError, match="expected labels 0 to 9, found 10"):
        read_pair(tmp_path, "t10k")


def test_the_split_is_fixed_and_loses_no_image(tmp_path):
    count = 5003
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(count), 256)
    write_pair(tmp_path, images, np.zeros(count, np.uint8), "train")
    training, validation = load_training(tmp_path)
    assert (len(training), len(validation)) == (3, 5000)
    both = torch.cat([training.images, validation.images])
    assert len(both.flatten(1).unique(dim=0)) == count
    assert torch.equal(load_training(tmp_path)[0].images, training.images)


def test_too_few_training_images_for_a_split(tmp_path):
    write_pair(tmp_path, IMAGES, LABELS, "train")
    with pytest.raises(DataError, match="more than 5000 training images.*found 3"):
        load_training(tmp_path)


def test_normalisation():
    pixels = np.array([[[0, 255]]], np.uint8)
    expected = [(0 - MEAN) / STD, (1 - MEAN) / STD]
    assert normalise(pixels).shape == (1, 1, 1, 2)
    assert np.allclose(normalise(pixels).flatten(), expected)


def test_shift_moves_whole_images_and_fills_with_background():
    images = torch.from_numpy(normalise(np.zeros((64, 5, 5), np.uint8)))
    images[:, 0, 2, 2] = 9.0
    moved = shift(images, 1, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert ((moved == 9.0).flatten(1).sum(1) == 1).all()
    assert (moved[:, 0, 1:4, 1:4] == 9.0).flatten(1).any(1).all()
    assert len((moved == 9.0).nonzero()[:, 2:].unique(dim=0)) == 9
    assert torch.allclose(moved[moved != 9.0], torch.tensor(-MEAN / STD))


def test_no_shift_is_the_identity():
    images = torch.randn(2, 1, 5, 5)
    assert torch.equal(shift(images, 0, torch.Generator()), images)

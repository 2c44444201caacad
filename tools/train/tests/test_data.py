"""Data sets in every form, whole and damaged, and what becomes of their pixels."""

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest
import torch
from conftest import digits, idx, write_pair
from PIL import Image

from ssl_train.data import cifar, folder, load
from ssl_train.data.batches import Normalisation, augment, batches, centre
from ssl_train.data.idx import read_idx
from ssl_train.errors import SslError

MNIST = (1, 28, 28)
LABELS = np.array([7, 0, 9], np.uint8)


def test_mnist(mnist):
    data = load(mnist, MNIST, None)
    assert (len(data.train), len(data.validation), len(data.test)) == (900, 100, 200)
    assert data.classes == [str(digit) for digit in range(10)]
    pixels, labels = data.test.fetch(torch.tensor([3, 5]))
    images, expected = digits(200, 1)
    assert np.array_equal(pixels[:, 0].numpy(), images[[3, 5]]) and labels.tolist() == expected[[3, 5]].tolist()


def test_gzipped_mnist(mnist, tmp_path):
    for path in mnist.iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert len(load(tmp_path, MNIST, None).test) == 200


def test_the_split_is_fixed_and_loses_no_image(mnist):
    one, other = load(mnist, MNIST, None), load(mnist, MNIST, None)
    assert torch.equal(one.validation.indices, other.validation.indices)
    assert len(set(one.train.indices.tolist()) | set(one.validation.indices.tolist())) == 1000


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
def test_damaged_idx_files_are_named_and_explained(tmp_path, content, message):
    path = tmp_path / "some-file"
    path.write_bytes(content)
    with pytest.raises(SslError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "some-file.gz"
    path.write_bytes(gzip.compress(idx(LABELS))[:-9])
    with pytest.raises(SslError, match="cannot be read"):
        read_idx(path)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (digits(30, 0)[0], LABELS, "expected 30 labels"),
        (digits(30, 0)[0][:3], np.array([1, 2, 10], np.uint8), "expected labels 0 to 9, found 10"),
        (digits(30, 0)[0][0], LABELS, r"expected shape \[n, height, width\], found \[28, 28\]"),
        (digits(3, 0)[0], LABELS, "expected at least 10 training images"),
        (digits(30, 0)[0][:, :27], digits(30, 0)[1], "expected images of at least"),
    ],
)
def test_impossible_mnist(mnist, tmp_path, images, labels, message):
    for path in mnist.glob("t10k*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write_pair(tmp_path, images, labels, "train")
    with pytest.raises(SslError, match=message):
        load(tmp_path, MNIST, None)


def test_a_missing_file_is_named(mnist, tmp_path):
    (tmp_path / "t10k-labels-idx1-ubyte").touch()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (tmp_path / name).write_bytes((mnist / name).read_bytes())
    with pytest.raises(SslError, match="t10k-images-idx3-ubyte: no such file"):
        load(tmp_path, MNIST, None)


def test_an_unknown_folder_is_explained(tmp_path):
    with pytest.raises(SslError, match="found neither IDX files"):
        load(tmp_path, MNIST, None)
    with pytest.raises(SslError, match="no such folder"):
        load(tmp_path / "missing", MNIST, None)


def record(label: int, seed: int) -> bytes:
    return bytes([label]) + np.random.default_rng(seed).integers(0, 256, 3072).astype(np.uint8).tobytes()


def test_cifar(tmp_path):
    for i, name in enumerate(cifar.TRAINING + cifar.TEST):
        (tmp_path / name).write_bytes(b"".join(record(n, 10 * i + n) for n in range(4)))
    data = load(tmp_path, (3, 32, 32), None)
    assert (len(data.train) + len(data.validation), len(data.test)) == (20, 4)
    assert data.classes[data.test.labels[2]] == "bird"
    pixels, _ = data.test.fetch(torch.tensor([2]))
    assert pixels.numpy().tobytes() == record(2, 52)[1:]


@pytest.mark.parametrize(
    ("content", "message"),
    [(record(1, 0)[:-1], "records of 3073 bytes, found 3072"), (record(11, 0), "found 11"), (b"", "0 bytes")],
)
def test_damaged_cifar(tmp_path, content, message):
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(SslError, match=message):
        load(tmp_path, (3, 32, 32), None)


def png(colour: tuple[int, int, int], size=(20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "png")
    return buffer.getvalue()


FILES = {
    **{f"train/{name}/{i}.png": png((10 * i, c, 0)) for c, name in enumerate(("cat", "dog")) for i in range(6)},
    **{f"val/{name}/0.png": png((200, c, 0)) for c, name in enumerate(("cat", "dog"))},
    "train/cat/notes.txt": b"not an image",
}


def as_folders(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def as_tars(path, files):
    for split in ("train", "val"):
        with tarfile.open(path / f"{split}.tar", "w") as tar:
            for name, content in files.items():
                if name.startswith(split):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("write", [as_folders, as_tars])
@pytest.mark.parametrize("ready", [True, False])
def test_images_by_class(tmp_path, write, ready, monkeypatch):
    monkeypatch.setattr(folder, "IN_MEMORY", 2**30 if ready else 0)
    write(tmp_path, FILES)
    data = load(tmp_path, (3, 8, 8), 9)
    assert data.train.images.ready == ready
    assert (len(data.train), len(data.validation), data.classes) == (11, 1, ["cat", "dog"])
    (pixels, labels), *rest = list(batches(data.test, torch.arange(2), 2))
    assert not rest and labels.tolist() == [0, 1]
    assert pixels.shape == (2, 3, 9, 9)
    assert pixels[:, :, 4, 4].tolist() == [[200, 0, 0], [200, 1, 0]]


def test_batches_ahead_keep_order(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "IN_MEMORY", 0)
    as_folders(tmp_path, FILES)
    train = load(tmp_path, (3, 8, 8), None).train
    order = torch.randperm(len(train))
    fetched = [pixels for pixels, _ in batches(train, order, 4)]
    assert [len(pixels) for pixels in fetched] == [4, 4, 3]
    assert torch.equal(torch.cat(fetched), train.fetch(order)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train/cat/0.png": b"garbage"}, "0.png: cannot be decoded"),
        ({"train/cat/0.png": png((0, 0, 0))[:45]}, "0.png: cannot be decoded"),
        ({"val/bird/0.png": png((0, 0, 0))}, "differing: bird"),
    ],
)
@pytest.mark.parametrize("write", [as_folders, as_tars])
def test_impossible_folders(tmp_path, write, change, message):
    write(tmp_path, FILES | change)
    with pytest.raises(SslError, match=message):
        load(tmp_path, (3, 8, 8), None)


def test_a_damaged_tar(tmp_path):
    (tmp_path / "train.tar").write_bytes(b"garbage" * 1000)
    with pytest.raises(SslError, match="train.tar: cannot be read as an uncompressed tar"):
        load(tmp_path, (3, 8, 8), None)


def test_a_missing_test_set(tmp_path):
    as_folders(tmp_path, {k: v for k, v in FILES.items() if k.startswith("train")})
    with pytest.raises(SslError, match="expected test or val as a folder or .tar"):
        load(tmp_path, (3, 8, 8), None)


def test_colours_must_fit_the_network(mnist):
    with pytest.raises(SslError, match="expected images of 3 channels, found 1"):
        load(mnist, (3, 28, 28), None)


def test_normalisation():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1)
    found = Normalisation(1 / 255, (0.5, 0.25), (0.5, 2.0))(pixels)
    assert found.flatten().tolist() == pytest.approx([-1.0, 0.375])


def test_shifts_move_whole_images_and_fill_with_black():
    images = torch.full((64, 1, 5, 5), 3, dtype=torch.uint8)
    images[:, 0, 2, 2] = 9
    moved = augment(images, 5, 5, 1, False, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert ((moved == 9).flatten(1).sum(1) == 1).all()
    assert len((moved == 9).nonzero()[:, 2:].unique(dim=0)) == 9
    assert set(moved.unique().tolist()) == {0, 3, 9}


def test_flips_mirror_about_half():
    images = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3).repeat(100, 1, 1, 1)
    found = augment(images, 2, 3, 0, True, torch.Generator().manual_seed(0))
    mirrored = (found == images.flip(3)).flatten(1).all(1)
    assert 30 < mirrored.sum() < 70
    assert torch.equal(found[~mirrored], images[~mirrored])


def test_parts_and_the_middle():
    images = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6)
    assert centre(images, 4, 2).tolist() == images[:, :, 1:5, 2:4].tolist()
    assert augment(images, 4, 2, 0, False, torch.Generator()).shape == (1, 1, 4, 2)
    assert torch.equal(augment(images, 6, 6, 0, False, torch.Generator()), images)

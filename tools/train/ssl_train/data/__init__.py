"""Labelled images from a folder, whatever form they have there, split for training, validation and test.

- MNIST and Fashion-MNIST: the four IDX files, plain or gzipped (`idx.py`);
- CIFAR-10: the six binary batches (`cifar.py`);
- anything else: folders of JPEG or PNG images by class, as directories or tar files (`folder.py`).
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from ssl_train.data import cifar, folder, idx
from ssl_train.data.images import Images, Split
from ssl_train.errors import SslError

VALIDATION_IMAGES = 5000
"""Held out of the training set, or a tenth of it where that is less."""

SPLIT_SEED = 0
"""The split is a constant of the package: runs with different seeds share it."""


@dataclass(frozen=True)
class Data:
    """Every choice is made on `validation`; `test` is looked at to report."""

    train: Split
    validation: Split
    test: Split
    classes: list[str]


def load(path: Path, shape: tuple[int, int, int], short_side: int | None) -> Data:
    """The data set in the folder `path` for a network that reads images of `shape` (channels, height, width).

    `short_side`: images of folders are resized so, then cut square around the centre; training crops from that.
    Without it they are stretched to `shape`.

    # Errors
    `SslError` if files are missing or damaged.
    """
    if not path.is_dir():
        raise SslError(f"{path}: no such folder")
    for kind in (idx, cifar, folder):
        if kind.recognises(path):
            (train, test), classes = kind.load(path, shape, short_side)
            break
    else:
        raise SslError(
            f"{path}: found neither IDX files (train-images-idx3-ubyte...) nor CIFAR-10 batches (data_batch_1.bin...) "
            "nor train and test (or val) as folders or .tar files of images by class"
        )
    for split in (train, test):
        if split.images.shape[0] != shape[0]:
            raise SslError(f"{path}: expected images of {shape[0]} channels, found {split.images.shape[0]}")
        if min(split.images.shape[1:]) < min(shape[1:]):
            raise SslError(f"{path}: expected images of at least {shape[1:]} pixels, found {split.images.shape[1:]}")
    if len(train) < 10:
        raise SslError(f"{path}: expected at least 10 training images, a tenth for validation, found {len(train)}")
    held_out = min(VALIDATION_IMAGES, len(train) // 10)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SPLIT_SEED))
    return Data(train.subset(order[held_out:]), train.subset(order[:held_out]), test, classes)


__all__ = ["Data", "Images", "Split", "load"]

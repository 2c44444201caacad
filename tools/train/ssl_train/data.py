"""MNIST as tensors: reads IDX files, normalises, splits.

MNIST is distributed as IDX: a big-endian header (two zero bytes, an element
type, the number of dimensions, then each dimension as a 32-bit integer)
followed by the elements. Only unsigned bytes occur here.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

SCALE = 0.00392156862745098
MEAN = 0.1307
STD = 0.3081
"""A pixel p in 0..255 enters the network as (p * SCALE - MEAN) / STD."""

VALIDATION_IMAGES = 5000
SPLIT_SEED = 0
"""The split is a constant of the package: runs with different seeds share it."""

_UNSIGNED_BYTE = 0x08


class DataError(Exception):
    """A data file is missing or is not what its name promises."""


@dataclass(frozen=True)
class Split:
    """Images float32 [n, 1, 28, 28], normalised; labels int64 [n], 0 to 9."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


def read_idx(path: Path) -> np.ndarray:
    """Array of uint8 in the shape that the file's header declares."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) < 4:
        raise DataError(f"{path}: expected an IDX header of at least 4 bytes, found {len(raw)}")
    zeros, kind, rank = struct.unpack_from(">HBB", raw)
    if zeros != 0 or kind != _UNSIGNED_BYTE:
        raise DataError(
            f"{path}: expected an IDX file of unsigned bytes (starting 00 00 08), "
            f"found {raw[:3].hex(' ')}"
        )
    start = 4 + 4 * rank
    if len(raw) < start:
        raise DataError(f"{path}: expected {rank} dimensions in the header, found {len(raw)} bytes in all")
    shape = struct.unpack_from(f">{rank}I", raw, 4)
    expected = start + int(np.prod(shape, dtype=object))
    if len(raw) != expected:
        raise DataError(f"{path}: expected {expected} bytes for shape {list(shape)}, found {len(raw)}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_pair(directory: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 28, 28] and labels uint8 [n] of the set `name` ("train" or "t10k")."""
    image_path = directory / f"{name}-images-idx3-ubyte"
    label_path = directory / f"{name}-labels-idx1-ubyte"
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise DataError(f"{image_path}: expected shape [n, 28, 28], found {list(images.shape)}")
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{label_path}: expected {len(images)} labels, one for each image of "
            f"{image_path.name}, found shape {list(labels.shape)}"
        )
    if labels.size and labels.max() > 9:
        raise DataError(f"{label_path}: expected labels 0 to 9, found {labels.max()}")
    return images, labels


def normalise(pixels: np.ndarray) -> np.ndarray:
    """uint8 [n, 28, 28] to the network's float32 [n, 1, 28, 28]."""
    values = (pixels.astype(np.float32) * np.float32(SCALE) - np.float32(MEAN)) / np.float32(STD)
    return values[:, None]


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(normalise(images)), torch.from_numpy(labels.astype(np.int64)))


def load_training(directory: Path) -> tuple[Split, Split]:
    """The training set as (training, validation), always divided the same way."""
    images, labels = read_pair(directory, "train")
    if len(labels) <= VALIDATION_IMAGES:
        raise DataError(
            f"{directory}: expected more than {VALIDATION_IMAGES} training images, "
            f"of which {VALIDATION_IMAGES} are held out for validation, found {len(labels)}"
        )
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    held_out, rest = order[:VALIDATION_IMAGES], order[VALIDATION_IMAGES:]
    return _split(images[rest], labels[rest]), _split(images[held_out], labels[held_out])


def load_test(directory: Path) -> Split:
    """The test set, in file order."""
    return _split(*read_pair(directory, "t10k"))


def shift(images: torch.Tensor, pixels: int, generator: torch.Generator) -> torch.Tensor:
    """Move every image of [n, 1, h, w] by up to `pixels` in each direction, filling with background."""
    if pixels == 0:
        return images
    count, _, height, width = images.shape
    background = (0 - MEAN) / STD
    padded = torch.nn.functional.pad(images, [pixels] * 4, value=background)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # [n, 1, 2p+1, 2p+1, h, w]
    down, right = torch.randint(0, 2 * pixels + 1, (2, count), generator=generator)
    return windows[torch.arange(count), :, down, right]

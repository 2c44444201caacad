"""MNIST and its like: IDX files.

A big-endian header (two zero bytes, an element type, the count of dimensions, then each dimension as a 32-bit
integer) followed by the elements. Only unsigned bytes occur here.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from ssl_train.data.images import InMemory, Split
from ssl_train.errors import SslError

_UNSIGNED_BYTE = 0x08

MOST_BYTES = 2**30
"""Of a file, unpacked: twenty times MNIST's largest."""


def _file(folder: Path, name: str) -> Path:
    """The file, or its gzipped form where only that exists."""
    packed = folder / f"{name}.gz"
    return packed if packed.exists() and not (folder / name).exists() else folder / name


def recognises(folder: Path) -> bool:
    return any(_file(folder, f"{name}-images-idx3-ubyte").exists() for name in ("train", "t10k"))


def read_idx(path: Path) -> np.ndarray:
    """Array of uint8 in the shape that the file's header declares."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise SslError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SslError(f"{path}: cannot be read: {error}") from error
    if len(raw) > MOST_BYTES:
        raise SslError(f"{path}: expected at most {MOST_BYTES} bytes, found more")
    if len(raw) < 4:
        raise SslError(f"{path}: expected an IDX header of at least 4 bytes, found {len(raw)}")
    zeros, kind, rank = struct.unpack_from(">HBB", raw)
    if zeros != 0 or kind != _UNSIGNED_BYTE:
        raise SslError(f"{path}: expected an IDX file of unsigned bytes (starting 00 00 08), found {raw[:3].hex(' ')}")
    start = 4 + 4 * rank
    if len(raw) < start:
        raise SslError(f"{path}: expected {rank} dimensions in the header, found {len(raw)} bytes in all")
    shape = struct.unpack_from(f">{rank}I", raw, 4)
    expected = start + math.prod(shape)
    if len(raw) != expected:
        raise SslError(f"{path}: expected {expected} bytes for shape {list(shape)}, found {len(raw)}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_pair(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, height, width] and labels uint8 [n] of the set `name` ("train" or "t10k")."""
    image_path = _file(folder, f"{name}-images-idx3-ubyte")
    label_path = _file(folder, f"{name}-labels-idx1-ubyte")
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.ndim != 3 or 0 in images.shape:
        raise SslError(f"{image_path}: expected shape [n, height, width], found {list(images.shape)}")
    if labels.shape != images.shape[:1]:
        raise SslError(
            f"{label_path}: expected {len(images)} labels, one for each image of {image_path.name}, "
            f"found shape {list(labels.shape)}"
        )
    if labels.max() > 9:
        raise SslError(f"{label_path}: expected labels 0 to 9, found {labels.max()}")
    return images, labels


def load(folder: Path, shape: tuple[int, int, int], short_side: int | None) -> tuple[tuple[Split, Split], list[str]]:
    """(training, test) and the names of the classes. Images stay as large as they are."""
    splits = []
    for name in ("train", "t10k"):
        images, labels = read_pair(folder, name)
        pixels = torch.from_numpy(images.copy())[:, None]
        splits.append(Split.all(InMemory(pixels), torch.from_numpy(labels.astype(np.int64))))
    return tuple(splits), [str(digit) for digit in range(10)]

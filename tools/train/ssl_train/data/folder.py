"""Folders of images by class, as ImageNet is usually kept: `train/tabby/1.jpg`, or the same inside `train.tar`.

Small sets are decoded once; large ones whenever a batch is asked for, by as many threads as there are cores.
"""

import io
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from ssl_train.data.images import InMemory, Split
from ssl_train.errors import SslError

SUFFIXES = {".jpg", ".jpeg", ".png"}
IN_MEMORY = 2**30
"""Bytes of pixels up to which a set is decoded once and kept."""


class Entry:
    """One image file: its class, a name for messages, and how to read its bytes."""

    def __init__(self, label: str, name: str, read: Callable[[], bytes]):
        self.label, self.name, self.read = label, name, read


def _in_directory(folder: Path) -> list[Entry]:
    files = [path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES]
    return [Entry(path.parent.name, str(path), path.read_bytes) for path in sorted(files)]


def _in_tar(path: Path) -> list[Entry]:
    def read(offset: int, size: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    try:
        with tarfile.open(path, "r:") as tar:
            members = [m for m in tar if m.isfile() and PurePosixPath(m.name).suffix.lower() in SUFFIXES]
    except (tarfile.TarError, EOFError) as error:
        raise SslError(f"{path}: cannot be read as an uncompressed tar file: {error}") from error
    members.sort(key=lambda member: member.name)
    return [
        Entry(
            PurePosixPath(m.name).parent.name,
            f"{path}: {m.name}",
            lambda offset=m.offset_data, size=m.size: read(offset, size),
        )
        for m in members
    ]


def _find(folder: Path, names: tuple[str, ...]) -> Path | None:
    candidates = [path for name in names for path in (folder / name, folder / f"{name}.tar")]
    return next((path for path in candidates if path.exists()), None)


def recognises(folder: Path) -> bool:
    return _find(folder, ("train",)) is not None


class Decoder:
    """Turns entries into pixels of one size."""

    ready = False

    def __init__(self, entries: list[Entry], shape: tuple[int, int, int], short_side: int | None):
        self.entries = entries
        self.short_side = short_side
        channels, height, width = shape
        self.shape = (channels, short_side, short_side) if short_side else (channels, height, width)
        self.pool = ThreadPoolExecutor()

    def decode(self, entry: Entry) -> np.ndarray:
        """uint8, of `shape`"""
        channels, height, width = self.shape
        try:
            image = Image.open(io.BytesIO(entry.read())).convert("L" if channels == 1 else "RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
            raise SslError(f"{entry.name}: cannot be decoded: {error}") from error
        if self.short_side:
            scale = self.short_side / min(image.size)
            size = [max(self.short_side, round(side * scale)) for side in image.size]
            left, top = ((side - self.short_side) // 2 for side in size)
            box = (left, top, left + self.short_side, top + self.short_side)
            image = image.resize(size, Image.Resampling.BILINEAR).crop(box)
        elif image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)

    def fetch(self, indices: torch.Tensor) -> torch.Tensor:
        pixels = self.pool.map(self.decode, [self.entries[i] for i in indices.tolist()])
        return torch.from_numpy(np.stack(list(pixels)))


def load(folder: Path, shape: tuple[int, int, int], short_side: int | None) -> tuple[tuple[Split, Split], list[str]]:
    """(training, test) and the names of the classes, which are those of the folders, sorted."""
    splits, classes = [], None
    for names in (("train",), ("test", "val")):
        path = _find(folder, names)
        if path is None:
            raise SslError(f"{folder}: expected {' or '.join(names)} as a folder or .tar file, found neither")
        entries = _in_directory(path) if path.is_dir() else _in_tar(path)
        if not entries:
            raise SslError(f"{path}: expected images as CLASS/NAME.jpg (or .jpeg, .png), found none")
        found = sorted({entry.label for entry in entries})
        if classes not in (None, found):
            odd = sorted(set(classes) ^ set(found))
            raise SslError(f"{path}: expected the classes of the training images; differing: {', '.join(odd[:5])}")
        classes = found
        index = {label: i for i, label in enumerate(classes)}
        images = Decoder(entries, shape, short_side)
        if len(entries) * int(np.prod(images.shape)) <= IN_MEMORY:
            images = InMemory(images.fetch(torch.arange(len(entries))))
        splits.append(Split.all(images, torch.tensor([index[entry.label] for entry in entries])))
    return tuple(splits), classes

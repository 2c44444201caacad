"""CIFAR-10 in its binary version: records of one label and 3 x 32 x 32 pixels, plane by plane."""

from pathlib import Path

import numpy as np
import torch

from ssl_train.data.images import InMemory, Split
from ssl_train.errors import SslError

TRAINING = [f"data_batch_{i}.bin" for i in range(1, 6)]
TEST = ["test_batch.bin"]
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

_RECORD = 1 + 3 * 32 * 32


def recognises(folder: Path) -> bool:
    return any((folder / name).exists() for name in TRAINING + TEST)


def read_batch(path: Path) -> np.ndarray:
    """Records uint8 [n, 3073]."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise SslError(f"{path}: no such file") from None
    if not raw or len(raw) % _RECORD:
        raise SslError(f"{path}: expected records of {_RECORD} bytes, found {len(raw)} bytes in all")
    records = np.frombuffer(raw, np.uint8).reshape(-1, _RECORD)
    if records[:, 0].max() > 9:
        raise SslError(f"{path}: expected labels 0 to 9, found {records[:, 0].max()}")
    return records


def load(folder: Path, shape: tuple[int, int, int], short_side: int | None) -> tuple[tuple[Split, Split], list[str]]:
    """(training, test) and the names of the classes. Images stay as large as they are."""
    splits = []
    for names in (TRAINING, TEST):
        records = torch.from_numpy(np.concatenate([read_batch(folder / name) for name in names]))
        pixels = records[:, 1:].reshape(-1, 3, 32, 32)
        splits.append(Split.all(InMemory(pixels), records[:, 0].long()))
    return tuple(splits), CLASSES

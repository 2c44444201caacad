"""Batches for the network: shuffled, augmented, normalised, fetched ahead where images must be decoded."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from ssl_train.data.images import Split


@dataclass(frozen=True)
class Normalisation:
    """A pixel p in 0..255 of channel c enters the network as (p * scale - mean[c]) / std[c]."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32, from uint8 [n, channels, height, width]"""
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return (pixels.float() * self.scale - mean) / std


def centre(pixels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The middle of every image."""
    top, left = ((a - b) // 2 for a, b in zip(pixels.shape[2:], (height, width)))
    return pixels[:, :, top : top + height, left : left + width]


def augment(
    pixels: torch.Tensor, height: int, width: int, shift: int, flip: bool, generator: torch.Generator
) -> torch.Tensor:
    """A random `height` x `width` part of every image, black `shift` pixels beyond its border, mirrored half the time."""
    count = len(pixels)
    padded = pad(pixels, [shift] * 4) if shift else pixels
    rows, columns = (a - b + 1 for a, b in zip(padded.shape[2:], (height, width)))
    if rows > 1 or columns > 1:
        down = torch.randint(rows, (count,), generator=generator)
        right = torch.randint(columns, (count,), generator=generator)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        padded = windows[torch.arange(count), :, down, right]
    if flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        padded = torch.where(mirrored.view(-1, 1, 1, 1), padded.flip(3), padded)
    return padded


def batches(split: Split, order: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pixels and labels of the images in this order, `size` at a time; the last batch may be smaller."""
    chunks = order.split(size)
    if split.images.ready:
        yield from map(split.fetch, chunks)
        return
    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(split.fetch, chunks[0])
        for chunk in [*chunks[1:], None]:
            batch = pending.result()
            if chunk is not None:
                pending = ahead.submit(split.fetch, chunk)
            yield batch

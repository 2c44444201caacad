"""The tools that come behind training, `ssl-convert` and `ssl-run`, as the trainer asks them.

What is left of a network is never computed here: `ssl-convert` knows it exactly, constants, shortcuts and all.
"""

import json
import shutil
import subprocess
import tempfile
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from ssl_train.errors import SslError
from ssl_train.export import export


@dataclass(frozen=True)
class Layer:
    """What is left of one convolution or linear layer: (kept, original) counts."""

    filters: tuple[int, int]
    channels: tuple[int, int]
    columns: tuple[int, int]
    macs: tuple[int, int]
    removed: bool


@dataclass(frozen=True)
class Structure:
    """What is left of a network."""

    layers: dict[str, Layer]
    """By module name."""

    @property
    def macs(self) -> int:
        return sum(layer.macs[0] for layer in self.layers.values())

    @property
    def macs_fraction(self) -> float:
        """Multiply-accumulates that are left, of those before."""
        return self.macs / sum(layer.macs[1] for layer in self.layers.values())

    @property
    def removed_layers(self) -> int:
        return sum(layer.removed for layer in self.layers.values())

    def describe(self) -> str:
        """One line: filters/columns of the layers that lost any."""
        lost = [
            f"{name} {layer.filters[0]}/{layer.columns[0]}" if not layer.removed else f"{name} -"
            for name, layer in self.layers.items()
            if layer.macs[0] < layer.macs[1]
        ]
        return " ".join([f"MACs {100 * self.macs_fraction:.1f} %", *lost])


def module_name(node: str) -> str:
    """The module that the exporter named a node after: "/blocks/blocks.0/conv/Conv" is of "blocks.0.conv"."""
    parts = node.strip("/").split("/")[:-1]
    inner = [part for part, below in zip(parts, [*parts[1:], ""]) if not below.startswith(f"{part}.")]
    return ".".join(inner)


class Tools:
    """The folder with the tools, or None for the search path.

    # Errors
    Methods raise `SslError` if a tool is missing or fails.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder

    def _path(self, name: str) -> str | None:
        return shutil.which(name, path=str(self.folder.resolve()) if self.folder else None)

    def found(self) -> bool:
        """Whether `ssl-convert` is there."""
        return self._path("ssl-convert") is not None

    def _run(self, name: str, *arguments: object) -> str:
        found = self._path(name)
        if found is None:
            where = self.folder or "the search path"
            raise SslError(f"{name}: not found in {where}; build it with cargo build --release and pass --tools")
        done = subprocess.run([found, *map(str, arguments)], check=False, capture_output=True, text=True)
        if done.returncode:
            raise SslError(f"{name}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def convert(self, onnx: Path, sslm: Path, *options: object) -> None:
        """Write the compact form of a masked model."""
        self._run("ssl-convert", onnx, "-o", sslm, *options)

    def certificate(self, onnx: Path) -> dict:
        """Everything that `ssl-convert` says about the conversion of a masked model."""
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.json")
            self.convert(onnx, Path(folder, "model.sslm"), "--report", report)
            return json.loads(report.read_text())

    def structure(self, model: nn.Module, input_shape: tuple[int, int, int]) -> Structure:
        """What is left of a network with zeros in place; BatchNorm is left to the converter."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            export(deepcopy(model).cpu(), path, input_shape, fold_batchnorm=False)
            report = Path(folder, "report.json")
            self.convert(path, Path(folder, "model.sslm"), "--verify", 0, "--report", report)
            return structure_of(json.loads(report.read_text()))

    def run(self, sslm: Path, images: np.ndarray) -> np.ndarray:
        """Outputs float32 [n, ...] for images float32 [n, ...]."""
        with tempfile.TemporaryDirectory() as folder:
            given, made = Path(folder, "images.npy"), Path(folder, "outputs.npy")
            np.save(given, images)
            self._run("ssl-run", sslm, "--input", given, "--output", made)
            return np.load(made)

    def classify(self, sslm: Path, image: Path) -> list[dict]:
        """The likeliest classes of an image file."""
        (found,) = json.loads(self._run("ssl-run", sslm, image, "--json"))
        return found["classes"]

    def bench(self, sslm: Path, runs: int) -> dict:
        """Times of a run and of its layers in ms, one image, one thread."""
        return json.loads(self._run("ssl-run", sslm, "--bench", runs, "--threads", 1, "--json"))


def structure_of(certificate: dict) -> Structure:
    """The counts in a certificate."""
    layers = {}
    for layer in certificate["layers"]:
        filters, channels, columns = (
            (layer[k]["kept"], layer[k]["original"]) for k in ("filters", "channels", "columns")
        )
        macs = (layer["macs"]["after"], layer["macs"]["before"])
        layers[module_name(layer["name"])] = Layer(filters, channels, columns, macs, layer["removed"])
    return Structure(layers)

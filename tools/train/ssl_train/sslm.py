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
import onnx
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
    """By module name; by node, where a layer is not called with its own weight."""

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


def module_names(path: Path) -> dict[str, str]:
    """Node to module, for the convolutions and linear layers of an exported model: weights keep their modules' names."""
    nodes = onnx.load(path).graph.node
    weights = {node.name: node.input[1] for node in nodes if node.op_type in ("Conv", "Gemm")}
    return {node: weight.removesuffix(".weight") for node, weight in weights.items() if weight.endswith(".weight")}


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

    def require(self, *names: str) -> list[str]:
        """Paths of these tools."""
        paths = [self._path(name) for name in names]
        if None in paths:
            where = self.folder or "the search path"
            raise SslError(
                f"{names[paths.index(None)]}: not found in {where}; build it with cargo build --release and pass --tools"
            )
        return paths

    def _run(self, name: str, *arguments: object) -> str:
        (found,) = self.require(name)
        done = subprocess.run([found, *map(str, arguments)], check=False, capture_output=True, text=True)
        if done.returncode:
            raise SslError(f"{name}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def convert(self, model: Path, sslm: Path, *options: object) -> None:
        """Write the compact form of a masked model."""
        self._run("ssl-convert", model, "-o", sslm, *options)

    def structure(self, model: nn.Module, input_shape: tuple[int, int, int]) -> Structure:
        """What is left of a network with zeros in place."""
        with tempfile.TemporaryDirectory() as folder:
            path, report = Path(folder, "model.onnx"), Path(folder, "report.json")
            # Folding BatchNorm is left to the converter: here it would rename weights.
            export(deepcopy(model).cpu(), path, input_shape, fold_batchnorm=False)
            self.convert(path, Path(folder, "model.sslm"), "--verify", 0, "--report", report)
            names = module_names(path)
            layers = json.loads(report.read_text())["layers"]
        return Structure({names.get(layer["name"], layer["name"]): _layer(layer) for layer in layers})

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


def _layer(report: dict) -> Layer:
    """A layer of a certificate."""
    counts = [(report[key]["kept"], report[key]["original"]) for key in ("filters", "channels", "columns")]
    return Layer(*counts, (report["macs"]["after"], report["macs"]["before"]), report["removed"])

"""What comes behind training, the converter and the runtime, as the trainer asks them: the Python package `sslm` where it is installed,
else the programs `ssl-convert` and `ssl-run`.

What is left of a network is never computed here: `ssl-convert` knows it exactly, constants, shortcuts and all.
"""

import json
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
from torch import nn

from ssl_train.errors import SslError
from ssl_train.export import export

BATCH = 32
"""Images that are run at once."""


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


class Tools(ABC):
    """The converter and the runtime.

    # Errors
    Methods raise `SslError` if they are missing or fail.
    """

    folder: Path | None = None
    """Where they are asked to be."""

    @abstractmethod
    def found(self) -> bool:
        """Whether they are there."""

    @abstractmethod
    def require(self) -> None:
        """That they are there."""

    @abstractmethod
    def convert(self, model: Path, sslm: Path, *, dense: bool = False, verify: bool = True) -> list[dict]:
        """Write the compact form of a masked model, or the same with zeros in place; what is left of each of its layers."""

    @abstractmethod
    def run(self, sslm: Path, images: np.ndarray) -> np.ndarray:
        """Outputs float32 [n, ...] for images float32 [n, ...]."""

    @abstractmethod
    def classify(self, sslm: Path, image: Path) -> list[dict]:
        """The likeliest classes of an image file."""

    @abstractmethod
    def bench(self, sslm: Path, runs: int) -> dict:
        """Times of a run and of its layers in ms, one image, one thread."""

    def structure(self, model: nn.Module, input_shape: tuple[int, int, int]) -> Structure:
        """What is left of a network with zeros in place."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            # Folding BatchNorm is left to the converter: here it would rename weights.
            export(deepcopy(model).cpu(), path, input_shape, fold_batchnorm=False)
            layers = self.convert(path, Path(folder, "model.sslm"), verify=False)
            names = module_names(path)
        return Structure({names.get(layer["name"], layer["name"]): _layer(layer) for layer in layers})


class Package(Tools):
    """The Python package `sslm`."""

    def __init__(self, package: ModuleType):
        self.package = package

    def found(self) -> bool:
        return True

    def require(self) -> None:
        pass

    def convert(self, model: Path, sslm: Path, *, dense: bool = False, verify: bool = True) -> list[dict]:
        with self._errors():
            return self.package.convert(model, sslm, dense=dense, verify=4 if verify else 0).layers

    def run(self, sslm: Path, images: np.ndarray) -> np.ndarray:
        with self._errors():
            model = self.package.Model(sslm)
            return np.concatenate([model(images[i : i + BATCH]) for i in range(0, len(images), BATCH)])

    def classify(self, sslm: Path, image: Path) -> list[dict]:
        with self._errors():
            return [asdict(found) for found in self.package.Model(sslm).classify(image)]

    def bench(self, sslm: Path, runs: int) -> dict:
        with self._errors():
            return self.package.Model(sslm, threads=1).profile(runs=runs).as_dict()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self.package.Error as error:
            raise SslError(f"sslm: {error}") from error


class Programs(Tools):
    """`ssl-convert` and `ssl-run` in a folder, or on the search path."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder

    def _path(self, name: str) -> str | None:
        return shutil.which(name, path=str(self.folder.resolve()) if self.folder else None)

    def found(self) -> bool:
        return self._path("ssl-convert") is not None

    def require(self) -> None:
        for name in ("ssl-convert", "ssl-run"):
            self._require(name)

    def _require(self, name: str) -> str:
        path = self._path(name)
        if path is None:
            where = self.folder or "the search path"
            raise SslError(
                f"{name}: not found in {where}; pip install tools/python, or cargo build --release and pass --tools"
            )
        return path

    def _run(self, name: str, *arguments: object) -> str:
        found = self._require(name)
        done = subprocess.run([found, *map(str, arguments)], check=False, capture_output=True, text=True)
        if done.returncode:
            raise SslError(f"{name}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def convert(self, model: Path, sslm: Path, *, dense: bool = False, verify: bool = True) -> list[dict]:
        options = [*(["--dense"] if dense else []), *([] if verify else ["--verify", 0])]
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.json")
            self._run("ssl-convert", model, "-o", sslm, "--report", report, *options)
            return json.loads(report.read_text())["layers"]

    def run(self, sslm: Path, images: np.ndarray) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            given, made = Path(folder, "images.npy"), Path(folder, "outputs.npy")
            np.save(given, images)
            self._run("ssl-run", sslm, "--input", given, "--output", made)
            return np.load(made)

    def classify(self, sslm: Path, image: Path) -> list[dict]:
        (found,) = json.loads(self._run("ssl-run", sslm, image, "--json"))
        return found["classes"]

    def bench(self, sslm: Path, runs: int) -> dict:
        return json.loads(self._run("ssl-run", sslm, "--bench", runs, "--threads", 1, "--json"))


def tools_of(folder: Path | None) -> Tools:
    """The programs in a folder that is named; else the package `sslm` if it is installed; else programs on the search path."""
    if folder is None:
        try:
            import sslm
        except ImportError:
            pass
        else:
            return Package(sslm)
    return Programs(folder)


def _layer(report: dict) -> Layer:
    """A layer of a certificate."""
    counts = [(report[key]["kept"], report[key]["original"]) for key in ("filters", "channels", "columns")]
    return Layer(*counts, (report["macs"]["after"], report["macs"]["before"]), report["removed"])

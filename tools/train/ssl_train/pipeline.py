"""A run: its stages one after the other, and the folder in which each leaves what the next one needs.

    config.json      the recipe as it was used, the seed, versions
    baseline.pt ...  what each finished stage left: weights, masks, history
    checkpoint.pt    the stage under way, after its last whole epoch
    metrics.csv      one line for each epoch
    metrics.json     errors, structure and processor time of the finished stages
    *.png            pictures

Every file appears whole or not at all, so a run can be stopped at any time and resumed.
"""

import importlib
import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import onnx
import torch
from torch import nn

from ssl_train import checkpoint, pictures, schedule
from ssl_train.cut import choose_cut
from ssl_train.data import Data
from ssl_train.errors import SslError
from ssl_train.export import export, preprocessing
from ssl_train.masks import Masks
from ssl_train.models import MODELS
from ssl_train.progress import log
from ssl_train.recipes import Recipe, StageSection
from ssl_train.sparsify import Sparsifier, specs_of
from ssl_train.ssl import SSL
from ssl_train.sslm import Tools
from ssl_train.training import Trainer

STAGES = ("baseline", "sparsify", "prune", "finetune")
UNITS = "errors: percent, top-1; cpu_seconds: processor time of all threads; counts: kept, original; macs: share left"


def build(recipe: Recipe, classes: int) -> nn.Module:
    """The recipe's network with fresh weights."""
    name = recipe.model.name
    if ":" in name:
        module, _, function = name.partition(":")
        try:
            make = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise SslError(f"model {name}: {error}") from error
    elif name in MODELS:
        make = MODELS[name]
    else:
        raise SslError(f'model {name}: expected {", ".join(MODELS)} or "module:function", found {name}')
    try:
        return make(classes, **recipe.model.options)
    except (TypeError, ValueError) as error:
        raise SslError(f"model {name}: {error}") from error


class Run:
    """One recipe, one seed, one folder."""

    def __init__(self, folder: Path, recipe: Recipe, data: Data, seed: int, device: torch.device, tools: Tools):
        self.folder = folder
        self.recipe = recipe
        self.data = data
        self.seed = seed
        self.device = device
        self.tools = tools
        self.rows: list[dict] = []
        self.summary: dict = {}
        self.masks = Masks()
        torch.manual_seed(seed)
        self.model = build(recipe, len(data.classes)).to(device, memory_format=torch.channels_last)
        self.trainer = Trainer(recipe, data, device, seed)

    # The folder

    def start(self, resume: bool, baseline: Path | None = None) -> None:
        """Claim the folder, or with `resume` continue what is in it. `baseline`: another run's folder, whose baseline
        this run begins with."""
        config = {
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "images": {name: len(getattr(self.data, name)) for name in ("train", "validation", "test")},
        }
        path = self.folder / "config.json"
        if path.exists():
            if not resume:
                raise SslError(f"{self.folder}: holds a run already: pass --resume, or another folder")
            found = checkpoint.load_json(path)
            expected = json.loads(json.dumps(config))
            if differing := [key for key in expected if found.get(key) != expected[key]]:
                raise SslError(f"{path}: the run was started with another {' and '.join(differing)}")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            versions = {"python": platform.python_version(), "torch": torch.__version__, "onnx": onnx.__version__}
            checkpoint.save_json(path, {**config, "versions": versions})
        if baseline is not None and not self._file("baseline").exists():
            theirs = checkpoint.load_json(baseline / "config.json")["recipe"]
            if theirs["model"] != json.loads(json.dumps(asdict(self.recipe.model))):
                raise SslError(f"{baseline}: its baseline is of another model")
            checkpoint.load(baseline / "baseline.pt")
            shutil.copyfile(baseline / "baseline.pt", self._file("baseline"))

    def _file(self, stage: str) -> Path:
        return self.folder / f"{stage}.pt"

    def done(self, stage: str) -> bool:
        return self._file(stage).exists()

    def load(self, stage: str) -> None:
        """Continue from what a finished stage left."""
        if not self.done(stage):
            raise SslError(f"{self.folder}: the stage {stage} has to come first")
        self._restore(checkpoint.load(self._file(stage)), self._file(stage))

    def _restore(self, state: dict, path: Path) -> None:
        try:
            self.model.load_state_dict(state["model"])
            self.masks = Masks(state["masks"]).to(self.device)
            self.rows, self.summary = state["rows"], state["summary"]
            self.trainer.generator.set_state(state["generator"])
            torch.set_rng_state(state["torch"])
        except (KeyError, RuntimeError, TypeError) as error:
            raise SslError(f"{path}: does not fit this run: {str(error).splitlines()[0]}") from error

    def _state(self) -> dict:
        return {
            "model": self.model.state_dict(),
            "masks": dict(self.masks),
            "rows": self.rows,
            "summary": self.summary,
            "generator": self.trainer.generator.get_state(),
            "torch": torch.get_rng_state(),
        }

    def _finish(self, stage: str, **summary: object) -> None:
        """Leave what the next stage needs."""
        seconds = sum(row["cpu_seconds"] for row in self.rows if row["stage"] == stage)
        self.summary[stage] = summary | {"cpu_seconds": round(seconds, 1)}
        checkpoint.save(self._file(stage), self._state())
        (self.folder / "checkpoint.pt").unlink(missing_ok=True)
        checkpoint.save_json(self.folder / "metrics.json", {"units": UNITS, **self.summary})

    # Stages

    def stage(self, name: str) -> None:
        """Do one stage, from what the one before it left."""
        if name != STAGES[0]:
            self.load(STAGES[STAGES.index(name) - 1])
        getattr(self, f"_{name}")()

    def _epochs(
        self,
        stage: str,
        settings: StageSection,
        optimizer: torch.optim.Optimizer,
        rate: Callable[[float], float],
        after_step: Callable[[float], bool],
        after_epoch: Callable[[dict], bool] = lambda row: False,
        live: Callable[[], str] = lambda: "",
        extra: Sparsifier | None = None,
    ) -> None:
        """Train for the stage's epochs, or until `after_step` or `after_epoch` says so, with a checkpoint after each.

        `live` describes what is left, for people; `extra` has state of its own in the checkpoint.
        """
        path = self.folder / "checkpoint.pt"
        first = 0
        if path.exists() and (state := checkpoint.load(path))["stage"] == stage:
            self._restore(state, path)
            optimizer.load_state_dict(state["optimizer"])
            first = state["epoch"]
            if extra:
                extra.load(state["extra"])
        for epoch in range(first, settings.epochs):
            began = time.process_time()
            title = f"{stage} {epoch + 1}/{settings.epochs}"
            went = self.trainer.epoch(title, epoch, self.model, optimizer, rate, after_step, live)
            error = self.trainer.error(self.model, self.data.validation)
            row = {
                "stage": stage,
                "epoch": epoch + 1,
                "lr": optimizer.param_groups[0]["lr"],
                "loss": round(went.loss, 5),
                "training_error": round(went.error, 4),
                "validation_error": round(error, 4),
                "live": live(),
            }
            spent = after_epoch(row)
            row["cpu_seconds"] = round(time.process_time() - began, 2)
            self.rows.append(row)
            seconds = f"{row['cpu_seconds']:.0f} s"
            log(f"{title}  loss {went.loss:.4f}  validation error {error:.2f} %  {seconds}  {row['live']}".rstrip())
            checkpoint.save_csv(self.folder / "metrics.csv", self.rows)
            if went.finished or spent:
                return
            state = {"stage": stage, "epoch": epoch + 1, "optimizer": optimizer.state_dict()}
            checkpoint.save(path, self._state() | state | {"extra": extra.state() if extra else None})

    def train(self, stage: str, settings: StageSection) -> None:
        """Ordinary training; masked weights stay zero."""
        optimizer = self.trainer.sgd(self.model, settings.lr, settings.weight_decay)

        def after_step(_: float) -> bool:
            self.masks.apply(self.model)
            return False

        self._epochs(
            stage, settings, optimizer, lambda now: schedule.cosine(settings.lr, now / settings.epochs), after_step
        )
        self._finish(stage, **self.errors())

    def errors(self) -> dict:
        """Percent, for validation and test."""
        splits = {"validation_error": self.data.validation, "test_error": self.data.test}
        return {name: round(self.trainer.error(self.model, split), 4) for name, split in splits.items()}

    def _baseline(self) -> None:
        self.train("baseline", self.recipe.baseline)

    def _finetune(self) -> None:
        self.train("finetune", self.recipe.finetune)

    def _sparsify(self) -> None:
        settings = self.recipe.sparsify
        before = self.summary["baseline"]["validation_error"]
        optimizer = self.trainer.sgd(self.model, settings.lr, settings.weight_decay)
        sparsifier = Sparsifier(self.recipe, self.model, optimizer, self.tools)

        def after_epoch(row: dict) -> bool:
            row["lambda"] = sparsifier.ssl.lam
            spent = sparsifier.after_epoch(row["validation_error"] - before)
            if settings.needs_structure or self.tools.found():
                row["macs"] = round(sparsifier.structure().macs_fraction, 6)
            return spent

        lr = settings.lr
        stage = StageSection(settings.epochs, lr)
        self._epochs(
            "sparsify",
            stage,
            optimizer,
            lambda _: lr,
            sparsifier.after_step,
            after_epoch,
            sparsifier.describe,
            sparsifier,
        )
        self.masks = Masks(sparsifier.ssl.masks)
        pictures.norms(self.folder / "norms.png", sparsifier.ssl)
        self._finish(
            "sparsify",
            **{"lambda": sparsifier.ssl.lam},
            validation_error=round(self.trainer.error(self.model, self.data.validation), 4),
            settled=sparsifier.ssl.state_dict()["settled"],
        )

    def _prune(self) -> None:
        # The optimiser takes no step.
        ssl = SSL(self.model, specs_of(self.recipe, self.model), self.trainer.sgd(self.model, 0.0, 0.0))
        ssl.load_state_dict({"masks": self.masks, "settled": self.summary["sparsify"]["settled"]})
        cut = choose_cut(
            ssl, lambda model: self.trainer.error(model, self.data.validation), self.recipe.prune.tolerance
        )
        self.masks = cut.masks
        self.masks.apply(self.model)
        gaps = {name: [gap.removed, gap.kept] for name, gap in cut.gaps.items()}
        log(f"prune  validation error {cut.error:.2f} %  relative norms up to {cut.limit} go")
        self._finish("prune", validation_error=round(cut.error, 4), limit=cut.limit, gaps=gaps)

    def export(self, path: Path) -> None:
        """Write the masked ONNX model of the last finished stage, and what `ssl-convert` says of it to the metrics."""
        last = [stage for stage in STAGES if self.done(stage)]
        if not last:
            raise SslError(f"{self.folder}: nothing to export: no stage is finished")
        self.load(last[-1])
        settings = self.recipe.data
        export(
            self.model,
            path,
            settings.shape,
            self.data.classes,
            preprocessing(settings.shape[0], settings.scale, settings.mean, settings.std, settings.short_side),
        )
        pictures.filters(self.folder / "filters.png", self.model)
        pictures.course(self.folder / "course.png", self.rows)
        metrics = {"units": UNITS, **self.summary}
        if self.tools.found():
            structure = self.tools.structure(self.model, settings.shape)
            metrics["structure"] = {
                "macs": structure.macs_fraction,
                "removed_layers": structure.removed_layers,
                "layers": {name: asdict(layer) for name, layer in structure.layers.items()},
            }
            log(structure.describe())
        checkpoint.save_json(self.folder / "metrics.json", metrics)

"""The command `ssl-train`: arguments in, a folder with a finished run and a masked ONNX model out."""

import argparse
import json
import sys
from pathlib import Path

import torch

import ssl_train
from ssl_train import recipes
from ssl_train.controls import CONTROLS, control
from ssl_train.data import load
from ssl_train.errors import SslError
from ssl_train.pipeline import STAGES, Run
from ssl_train.progress import log
from ssl_train.sslm import tools_of

DESCRIPTION = """\
Trains convolutional networks with Structured Sparsity Learning (Wen et al.,
NIPS 2016) and writes them as masked ONNX: original shapes, exact zeros where
whole filters, channels, columns and layers were pruned. ssl-convert makes
those small."""

EPILOG = f"""\
recipes: {", ".join(recipes.names())}; or a TOML file of your own

data: the four IDX files of MNIST or Fashion-MNIST, the binary batches of
CIFAR-10, or images as train/CLASS/NAME.jpg and test/ (or val/), as folders or
.tar files

examples:
  ssl-train run lenet-filters --data mnist --out lenet.onnx
  ssl-train run lenet-filters --data mnist --out lenet.onnx --resume
  ssl-train run convnet --data cifar --out net.onnx --target-macs 0.2
  ssl-train sparsify convnet --data cifar --run runs/b --baseline runs/a
  ssl-train controls convnet --data cifar --run runs/a

exit status: 0 done, 2 error, 130 interrupted (--resume continues)"""

GOALS = {
    "target-macs": "sparsify until this share of the multiply-accumulates is left",
    "target-speedup": "sparsify until the network is so many times faster, by times measured with ssl-run",
    "max-drop": "sparsify until so many percentage points of validation accuracy are spent",
}


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    root = argparse.ArgumentParser(prog="ssl-train", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    root.add_argument("--version", action="version", version=f"ssl-train {ssl_train.__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = {
        "run": "all stages, then export",
        "baseline": "ordinary training",
        "sparsify": "group Lasso, lambda rising until a goal is reached",
        "prune": "the cut, chosen on validation",
        "finetune": "training with what was cut held at zero",
        "export": "the masked ONNX model of the last finished stage",
        "controls": "other ways to the same amount of work, for comparison with a finished run",
    }
    for name, line in about.items():
        command = commands.add_parser(name, help=line, description=line.capitalize() + ".")
        command.add_argument("recipe", metavar="RECIPE", help="name of a shipped recipe, or a TOML file")
        command.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the images")
        needs_out = name in ("run", "export")
        if needs_out:
            command.add_argument("--out", type=Path, required=True, metavar="ONNX", help="the model to write")
        where = "default: beside --out" if needs_out else "required"
        command.add_argument(
            "--run", type=Path, required=not needs_out, metavar="DIR", help=f"folder of the run ({where})"
        )
        command.add_argument("--seed", type=int, default=1, help="of weights, order and augmentation (default: 1)")
        command.add_argument("--baseline", type=Path, metavar="RUN", help="begin with the baseline of another run")
        if name == "controls":
            command.add_argument("--only", choices=CONTROLS, action="append", help="this control (default: all)")
        else:
            command.add_argument("--resume", action="store_true", help="continue what is in the folder of the run")
        goals = command.add_mutually_exclusive_group()
        for goal, meaning in GOALS.items():
            goals.add_argument(f"--{goal}", type=float, metavar="X", help=f"{meaning}; replaces the recipe's goals")
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe: finetune.epochs=40"
        )
        command.add_argument(
            "--tools",
            type=Path,
            metavar="DIR",
            help="where ssl-convert and ssl-run are (default: the package sslm, or PATH)",
        )
        command.add_argument("--threads", type=int, metavar="N", help="processor threads (default: all)")
        command.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    return root


def recipe_of(arguments: argparse.Namespace) -> recipes.Recipe:
    """The recipe with what the command line changes; a goal given there takes the place of all of the recipe's."""
    changes = list(arguments.set)
    goal = next((g for g in GOALS if getattr(arguments, g.replace("-", "_")) is not None), None)
    if goal is not None:
        key = goal.replace("-", "_")
        changes.append(f"sparsify.{key}={getattr(arguments, key)!r}")
    recipe = recipes.load(arguments.recipe, changes)
    return recipe if goal is None else recipes.only_goal(recipe, goal.replace("-", "_"))


def device(name: str) -> torch.device:
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise SslError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return chosen


def execute(arguments: argparse.Namespace) -> None:
    recipe = recipe_of(arguments)
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise SslError(f"--threads: expected at least 1, found {arguments.threads}")
        torch.set_num_threads(arguments.threads)
    out = getattr(arguments, "out", None)
    if out is not None and not out.absolute().parent.is_dir():
        raise SslError(f"{out.absolute().parent}: no such folder")
    if out is not None and out.is_dir():
        raise SslError(f"{out}: expected the name of a file, found a folder")
    tools = tools_of(arguments.tools)
    if recipe.sparsify.needs_structure and arguments.command in ("run", "sparsify"):
        tools.require()  # now rather than after the baseline
    chosen = device(arguments.device)
    data = load(arguments.data, recipe.data.shape, recipe.data.short_side)
    folder = arguments.run or out.with_suffix(".run")
    run = Run(folder, recipe, data, arguments.seed, chosen, tools)
    # Stages after the first, export and controls build on what is in the folder.
    continues = arguments.command not in ("run", "baseline") and arguments.baseline is None
    if continues and not (folder / "config.json").exists():
        raise SslError(f"{folder}: holds no run: the stage baseline has to come first")
    run.start(resume=continues or arguments.resume, baseline=arguments.baseline)
    if arguments.command == "controls":
        for name in arguments.only or CONTROLS:
            print(json.dumps(control(run, name)), flush=True)
        return
    for stage in STAGES:
        if stage == arguments.command or (arguments.command == "run" and not run.done(stage)):
            run.stage(stage)
    if out is not None:
        run.export(out)
        for stage in ("baseline", "finetune"):
            if stage in run.summary:
                print(f"{stage:9} test error {run.summary[stage]['test_error']:.2f} %")


def main() -> int:
    arguments = parser().parse_args()
    try:
        execute(arguments)
    except (SslError, OSError) as error:
        print(f"ssl-train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        log("ssl-train: interrupted; --resume continues after the last whole epoch")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

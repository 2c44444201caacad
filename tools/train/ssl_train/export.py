"""Writes a trained network as a *masked* ONNX model.

Masked means the original shapes with exact zeros in place: making the layers physically smaller is the converter's
business, and a masked file lets anybody check that it did so without changing the answers.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

OPSET = 17


def preprocessing(
    channels: int, scale: float, mean: Sequence[float], std: Sequence[float], short_side: int | None
) -> dict:
    """What `ssl-convert` reads under `ssl.preprocessing`: value = (pixel * scale - mean) / std, for each channel."""
    return {
        "color": "gray" if channels == 1 else "rgb",
        "resize": {"short_side": short_side} if short_side else "stretch",
        "scale": scale,
        "mean": list(mean),
        "std": list(std),
    }


def export(
    model: nn.Module,
    path: Path | str,
    input_shape: tuple[int, int, int],
    labels: Sequence[str] = (),
    preprocessing: dict | None = None,
    fold_batchnorm: bool = True,
) -> None:
    """Write `model` to `path`: "image" [batch, *input_shape] in, "logits" [batch, classes] out.

    The class names and the preprocessing travel in the file's metadata, under `ssl.labels` and `ssl.preprocessing`,
    each as JSON. Without `fold_batchnorm` each BatchNormalization stays a node. The file appears whole or not at all.
    """
    path = Path(path)
    training = model.training
    model.eval()
    # By default the exporter folds; a model in evaluation mode that is exported as it is keeps its nodes.
    mode = torch.onnx.TrainingMode.EVAL if fold_batchnorm else torch.onnx.TrainingMode.PRESERVE
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        unfinished = Path(folder, path.name)
        with warnings.catch_warnings():
            # The older exporter is deprecated, and used on purpose: it keeps the weights inline.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (torch.zeros(1, *input_shape, device=next(model.parameters()).device),),
                str(unfinished),
                input_names=["image"],
                output_names=["logits"],
                dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,
                training=mode,
                do_constant_folding=fold_batchnorm,
            )
        model.train(training)
        graph = onnx.load(unfinished)
        metadata = {}
        if labels:
            metadata["ssl.labels"] = json.dumps(list(labels))
        if preprocessing is not None:
            metadata["ssl.preprocessing"] = json.dumps(preprocessing)
        onnx.helper.set_model_props(graph, metadata)
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, unfinished)
        os.replace(unfinished, path)

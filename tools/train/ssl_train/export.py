"""Writes a trained network as a *masked* ONNX model.

Masked means the original shapes with exact zeros in place: making the layers
physically smaller is the converter's business, and a masked file lets anybody
check that it did so without changing the answers.
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

from ssl_train.data import MEAN, SCALE, STD

OPSET = 17

MNIST_PREPROCESSING = {
    "color": "gray",
    "resize": "stretch",
    "scale": SCALE,
    "mean": [MEAN],
    "std": [STD],
}
"""Per channel: value = (pixel * scale - mean) / std, pixel in 0..255."""


def export(
    model: nn.Module,
    path: Path,
    input_shape: tuple[int, int, int],
    labels: Sequence[str],
    preprocessing: dict,
) -> None:
    """Write `model` to `path`: "image" [batch, *input_shape] in, "logits" [batch, classes] out.

    The class names and the preprocessing travel in the file's metadata, under
    `ssl.labels` and `ssl.preprocessing`, each as JSON.
    """
    model.eval()
    with warnings.catch_warnings():
        # The older exporter is deprecated, and used on purpose: it keeps the weights inline.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (torch.zeros(1, *input_shape),),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load(path)
    onnx.helper.set_model_props(
        graph,
        {"ssl.labels": json.dumps(list(labels)), "ssl.preprocessing": json.dumps(preprocessing)},
    )
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)

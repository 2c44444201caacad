#!/usr/bin/env python3
"""Writes the model that the library's documentation and examples run: does an image of 8x8 pixels show horizontal or vertical lines?

    python tests/scripts/tiny_model.py tiny.onnx
    cargo run --release -p ssl-convert -- tiny.onnx -o runtime/examples/tiny.sslm

Its weights are set by hand. Four filters of 3x3 look for lines, of which two are zero, as group Lasso leaves them; the mean of what each
finds is a score for its class. Needs onnx and numpy.
"""

import argparse
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model() -> onnx.ModelProto:
    line = np.array([[-1, -1, -1], [2, 2, 2], [-1, -1, -1]], np.float32)
    filters = np.zeros((4, 1, 3, 3), np.float32)
    filters[0, 0], filters[2, 0] = line, line.T
    classes = np.zeros((2, 4), np.float32)
    classes[0, 0] = classes[1, 2] = 1
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["lines"], "lines", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["lines"], ["found"], "found"),
        helper.make_node("GlobalAveragePool", ["found"], ["means"], "means"),
        helper.make_node("Flatten", ["means"], ["features"], "features"),
        helper.make_node("Gemm", ["features", "classes"], ["scores"], "scores", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(filters, "filters"), numpy_helper.from_array(classes, "classes")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    preprocessing = {"color": "gray", "resize": "stretch", "scale": 1 / 255, "mean": [0.0], "std": [1.0]}
    helper.set_model_props(
        made, {"ssl.labels": json.dumps(["horizontal", "vertical"]), "ssl.preprocessing": json.dumps(preprocessing)}
    )
    onnx.checker.check_model(made)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="where the ONNX file goes")
    onnx.save(model(), parser.parse_args().path)

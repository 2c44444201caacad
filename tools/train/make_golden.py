"""Makes the files with which the runtime's tests compare themselves.

From the MNIST test set and a masked ONNX model it writes
- to --golden: `images.npy` float32 [n, 1, 28, 28], preprocessed; `logits.npy`
  float32 [n, 10], as onnxruntime computes them; `labels.npy` uint8 [n]; for the
  first n test images;
- to --digits: `0.png` to `9.png`, for each class the first test image that the
  model classifies correctly.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image

from ssl_train.data.batches import Normalisation
from ssl_train.data.idx import read_pair


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the IDX files of MNIST")
    parser.add_argument("--onnx", type=Path, required=True, help="the masked model")
    parser.add_argument("--golden", type=Path, required=True, help="folder for the arrays")
    parser.add_argument("--digits", type=Path, required=True, help="folder for the images")
    parser.add_argument("--count", type=int, default=128, help="images in the arrays (default: 128)")
    arguments = parser.parse_args()

    pixels, labels = read_pair(arguments.data, "t10k")
    session = onnxruntime.InferenceSession(str(arguments.onnx), providers=["CPUExecutionProvider"])
    rule = json.loads(session.get_modelmeta().custom_metadata_map["ssl.preprocessing"])
    normalise = Normalisation(rule["scale"], rule["mean"], rule["std"])
    images = normalise(torch.from_numpy(pixels.copy())[:, None]).numpy()
    chunks = np.array_split(images, 10)  # all at once would take over a gigabyte
    logits = np.concatenate([session.run(["logits"], {"image": c})[0] for c in chunks])

    arguments.golden.mkdir(parents=True, exist_ok=True)
    for name, array in {"images": images, "logits": logits, "labels": labels}.items():
        np.save(arguments.golden / f"{name}.npy", array[: arguments.count])

    arguments.digits.mkdir(parents=True, exist_ok=True)
    right = logits.argmax(1) == labels
    for digit in range(10):
        of_class = np.flatnonzero(labels == digit)
        chosen = of_class[right[of_class]][0]
        Image.fromarray(pixels[chosen]).save(arguments.digits / f"{digit}.png")
        skipped = int((of_class < chosen).sum())
        print(f"{digit}.png: test image {chosen}" + (f", {skipped} misclassified skipped" if skipped else ""))


if __name__ == "__main__":
    main()

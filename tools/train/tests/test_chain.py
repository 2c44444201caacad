"""The whole chain, train -> ONNX -> ssl-convert -> ssl-run: what is right stays right at each hand-over."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import flags
from PIL import Image
from torch.nn import Conv2d, Linear

from ssl_train import recipes
from ssl_train.data import load
from ssl_train.data.batches import Normalisation
from ssl_train.export import export
from ssl_train.groups import Groups, group_specs
from ssl_train.masks import Masks
from ssl_train.models import MODELS

SMOKE = Path(__file__).with_name("smoke.toml")


def onnxruntime_answers(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": images})[0]


def test_train_convert_run(mnist, tmp_path, tools):
    masked, compact, dense = (tmp_path / name for name in ("masked.onnx", "compact.sslm", "dense.sslm"))
    command = [sys.executable, "-m", "ssl_train.cli", "run", SMOKE, "--data", mnist, "--out", masked]
    done = subprocess.run([*command, "--threads", "1", *flags(tools)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tools.convert(masked, compact)
    tools.convert(masked, dense, dense=True)

    recipe = recipes.load(str(SMOKE), [])
    test = load(mnist, recipe.data.shape, None).test
    pixels, labels = test.fetch(torch.arange(len(test)))
    images = Normalisation(recipe.data.scale, recipe.data.mean, recipe.data.std)(pixels).numpy()
    answers = {
        "onnxruntime": onnxruntime_answers(masked, images),
        "ssl-run, dense": tools.run(dense, images),
        "ssl-run, compact": tools.run(compact, images),
    }
    metrics = json.loads((tmp_path / "masked.run/metrics.json").read_text())
    for name, logits in answers.items():
        error = 100 * float((logits.argmax(1) != labels.numpy()).mean())
        assert error == pytest.approx(metrics["finetune"]["test_error"]), name
        assert np.abs(logits - answers["onnxruntime"]).max() < 1e-4, name
    assert metrics["structure"]["macs"] < 0.5

    # An image file takes its preprocessing and its label from the model.
    Image.fromarray(pixels[0, 0].numpy()).save(tmp_path / "digit.png")
    best = tools.classify(compact, tmp_path / "digit.png")[0]
    assert best["index"] == answers["onnxruntime"][0].argmax()
    assert best["label"] == str(best["index"])
    assert best["output"] == pytest.approx(float(answers["onnxruntime"][0].max()), abs=1e-4)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipes_network_is_masked_exported_and_converted(name, tmp_path, tools):
    """Half of each kind of groups of the recipe at random; CaffeNet with its LRN, groups and dropout, too."""
    recipe = recipes.load(name, [])
    model = MODELS[recipe.model.name](10, **recipe.model.options).eval()
    settings = recipe.sparsify
    specs = group_specs(model, settings.groups, settings.layers)
    masks = Masks()
    for spec in specs:
        groups = Groups(model, spec)
        masks.restrict(spec.layer, groups.mask(torch.rand_like(groups.norms()) < 0.5))
    masks.apply(model)
    path = tmp_path / "model.onnx"
    export(model, path, recipe.data.shape)
    structure = tools.structure(model, recipe.data.shape)
    assert set(structure.layers) == {name for name, m in model.named_modules() if isinstance(m, (Conv2d, Linear))}
    assert structure.macs_fraction < 0.9
    tools.convert(path, tmp_path / "model.sslm")
    images = np.random.default_rng(0).standard_normal((2, *recipe.data.shape)).astype(np.float32)
    expected = onnxruntime_answers(path, images)
    assert np.abs(tools.run(tmp_path / "model.sslm", images) - expected).max() < 1e-4 * np.abs(expected).max() + 1e-6

"""Schedules, settings, and the four steps end to end on a toy problem."""

import pytest
import torch

from ssl_train import structure
from ssl_train.data import Split
from ssl_train.models import LeNet
from ssl_train.train import Recipe, Trainer, TrainingError, cosine, evaluate, group_terms, ramp


def test_ramp_rises_geometrically_and_holds():
    assert ramp(0.001, 0.1, 0.0) == pytest.approx(0.001)
    assert ramp(0.001, 0.1, 0.5) == pytest.approx(0.01)
    assert ramp(0.001, 0.1, 1.0) == ramp(0.001, 0.1, 3.0) == pytest.approx(0.1)


def test_cosine_waits_falls_and_ends_at_zero():
    assert cosine(2.0, -1.0) == cosine(2.0, 0.0) == 2.0
    assert cosine(2.0, 0.5) == pytest.approx(1.0)
    assert cosine(2.0, 1.0) == cosine(2.0, 2.0) == 0.0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"ramp_epochs": 0}, "ramp_epochs: expected at least 1, found 0"),
        ({"shift": -1}, "shift: expected at least 0, found -1"),
        ({"momentum": 1.0}, "momentum: expected less than 1, found 1.0"),
        ({"lambda_start": 0.1, "lambda_final": 0.01}, "found 0.1 and 0.01"),
        ({"baseline_lr": float("nan")}, "baseline_lr: expected at least 0, found nan"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**setting)


def test_every_convolution_has_its_groups_and_dense_layers_have_none():
    model = LeNet()
    terms = [(term.weight, term.groups.name) for term in group_terms(model, Recipe())]
    expected = [(model.conv1.weight, "shape"), (model.conv1.weight, "filter")]
    expected += [(model.conv2.weight, kind) for kind in ("shape", "channel", "filter")]
    assert len(terms) == len(expected)
    for (weight, kind), (expected_weight, expected_kind) in zip(terms, expected):
        assert weight is expected_weight and kind == expected_kind


def toy(count: int) -> Split:
    """Images with one bright quadrant, which is the label."""
    labels = torch.arange(count) % 4
    images = 0.1 * torch.randn(count, 1, 28, 28)
    for image, label in zip(images, labels):
        row, column = 14 * (label // 2), 14 * (label % 2)
        image[0, row : row + 14, column : column + 14] += 1.0
    return Split(images, labels)


def trainer(**settings) -> Trainer:
    torch.manual_seed(0)
    return Trainer(LeNet(), toy(320), toy(80), Recipe(batch=16, shift=0, baseline_epochs=1, **settings))


def test_the_four_steps_prune_and_still_classify():
    run = trainer(ramp_epochs=3, hold_epochs=1, lambda_final=0.05, finetune_epochs=1)
    run.baseline()
    history = run.sparsify()
    assert [entry["lambda"] for entry in history] == sorted(entry["lambda"] for entry in history)
    assert history[-1]["lambda"] == 0.05
    _, kept = run.cut()
    run.finetune(kept)
    for name, conv in structure.convolutions(run.model).items():
        assert not kept[name].mask.all()
        assert torch.equal(conv.weight != 0, kept[name].mask)
    assert evaluate(run.model, run.validation) == 0.0


def test_too_much_lambda_is_explained():
    run = trainer(ramp_epochs=1, lambda_start=100.0, lambda_final=100.0)
    with pytest.raises(TrainingError, match="nothing is left of conv1, conv2 at lambda 100"):
        run.sparsify()

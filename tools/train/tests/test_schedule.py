"""Learning rates and lambda over time."""

import math

import pytest

from ssl_train.schedule import cosine, ramp


def test_cosine_waits_falls_and_ends_at_zero():
    assert cosine(2.0, -1.0) == cosine(2.0, 0.0) == 2.0
    assert cosine(2.0, 0.5) == pytest.approx(1.0)
    assert cosine(2.0, 1.0) == cosine(2.0, 2.0) == 0.0


def test_ramp_rises_geometrically_and_holds():
    assert ramp(0.001, 2.0, 0.1, 0.0) == pytest.approx(0.001)
    assert ramp(0.001, 2.0, 0.1, 3.5) == pytest.approx(0.001 * 2**3.5)
    assert ramp(0.001, 2.0, 0.1, 9.0) == ramp(0.001, 2.0, 0.1, 1e9) == 0.1
    assert math.isfinite(ramp(0.001, 2.0, math.inf, 1e9))

"""The bulk draws follow the laws that they name, and depend on the generator alone."""

import numpy as np
import pytest
from scipy import stats

from dmix.mixing.trajectories import gamma as module
from dmix.mixing.trajectories.gamma import fill_log_gamma, normal, uniform


def log_gammas(shape, count=100_000, seed=0):
    out = np.empty(count, np.float32)
    fill_log_gamma(np.random.default_rng(seed), out, shape=np.full(count, shape, np.float32))
    return out.astype(np.float64)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_any_number_can_be_drawn(count):
    rng = np.random.default_rng(0)
    assert uniform(rng, count).shape == normal(rng, count).shape == (count,)
    assert log_gammas(2.0, count=count).shape == (count,)


def test_uniform_numbers_fill_the_interval_without_0():
    drawn = uniform(np.random.default_rng(1), 200_000)
    assert drawn.min() > 0 and drawn.max() <= 1
    assert stats.kstest(drawn.astype(float), "uniform").pvalue > 0.01


def test_normal_numbers_are_normal_and_uncorrelated():
    drawn = normal(np.random.default_rng(1), 200_000).astype(float)
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    # the two halves come from the same radii
    assert abs(np.corrcoef(drawn[:100_000], drawn[100_000:])[0, 1]) < 0.01


@pytest.mark.parametrize("shape", [0.01, 0.5, 1.0, 3.0, 1000.0])
def test_logarithms_of_gammas_follow_the_law(shape):
    assert stats.kstest(log_gammas(shape), stats.loggamma(shape).cdf).pvalue > 0.01


def test_tiny_shapes_do_not_underflow():
    # E log G(a) = digamma(a), about -1 / a: far below what float32 holds as a number
    assert np.isfinite(log_gammas(1e-4)).all()
    assert log_gammas(1e-4).mean() == pytest.approx(-1e4, rel=0.02)


def test_shapes_of_a_draw_belong_to_their_elements():
    shape = np.array([[0.3], [30.0]], np.float32) * np.ones(50_000, np.float32)
    out = np.empty_like(shape)
    fill_log_gamma(np.random.default_rng(2), out, shape=shape)
    assert np.exp(out.astype(float)).mean(1) == pytest.approx([0.3, 30.0], rel=0.02)


def test_a_draw_longer_than_a_chunk_is_one_law(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 1000)
    assert stats.kstest(log_gammas(0.7, count=20_500), stats.loggamma(0.7).cdf).pvalue > 0.01

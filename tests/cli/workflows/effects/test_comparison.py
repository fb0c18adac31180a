"""Effects of a setting: what is missing is measured once, and its price in runs."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.cli.workflows.effects import comparison as module
from dmix.cli.workflows.effects.comparison import (
    COUNTS,
    GRADIENT,
    RELATIVE,
    _gains,
    _measured,
    measure_effects,
)
from dmix.training.comparison.effects import design, promises
from dmix.training.comparison.runs import rival_stages, stages

NATURAL_N = np.array([0.5, 0.5])


def stored(counts=None, **facts):
    effects = SimpleNamespace(natural_N=NATURAL_N, effect_ND=np.array([[1.0], [-1.0]]))
    return SimpleNamespace(effects=effects, counts=counts, facts=facts)


@pytest.fixture
def study(tmp_path):
    return SimpleNamespace(
        loaded=SimpleNamespace(settings=SimpleNamespace(run_samples=10, seq_len=30)),
        tier=SimpleNamespace(effect_bases=2),
        paths=SimpleNamespace(results=tmp_path),
        inputs="i",
        progress=lambda line: None,
    )


def test_measured_effects_promise_along_a_line_and_counts_by_their_model():
    mixture_N = np.array([0.75, 0.25])
    assert _gains(stored())(mixture_N).tolist() == [0.5]
    counts = SimpleNamespace(values=lambda mixture_N: mixture_N[:1] ** 2)
    assert _gains(stored(counts))(mixture_N).tolist() == [0.75**2 - 0.25]


@pytest.mark.parametrize(("estimator", "price"), [(COUNTS, 0.0), (RELATIVE, 1.0), (GRADIENT, 2.0)])
def test_the_price_is_what_was_passed_through_a_model(study, monkeypatch, estimator, price):
    found = stored(scored_tokens=900, tokens=600)
    monkeypatch.setattr(module, "_gradients", lambda *_: found)
    monkeypatch.setattr(module, "_counts", lambda *_: found)
    measurement = _measured(study, estimator, 1)
    assert (measurement.run_equivalents, measurement.base, measurement.estimator) == (price, 1, estimator)


def test_only_missing_promises_are_measured(study, monkeypatch):
    asked, kept = [], []
    unit = SimpleNamespace(spec="fresh:0/2")
    for name in ("effect_units", "yardstick_units"):
        monkeypatch.setattr(stages, name, lambda study: [unit])
    monkeypatch.setattr(rival_stages, "probe_units", lambda study, space: [unit])
    monkeypatch.setattr(stages, "run_space", lambda study: None)
    monkeypatch.setattr(design, "mixture_of", lambda *_: NATURAL_N)
    monkeypatch.setattr(promises, "read_table", lambda *_: [])
    monkeypatch.setattr(
        promises, "missing_specs", lambda rows, *, base, estimator, **_: (base, estimator) == (1, RELATIVE)
    )
    monkeypatch.setattr(
        promises, "store_measurement", lambda results, found, mixtures: kept.append((found, set(mixtures)))
    )
    monkeypatch.setattr(
        module, "_measured", lambda study, estimator, base: asked.append((estimator, base)) or "m"
    )
    measure_effects(study)
    assert asked == [(RELATIVE, 1)] and kept == [("m", {"fresh:0/2"})]

"""The mixtures that promises are judged by: distinct from the yardstick's, named whole by their specs."""

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.training.comparison.data.settings import ComparisonObjective, ComparisonSettings
from dmix.training.comparison.effects.design import (
    fresh_mixtures,
    mixture_of,
    probe_of,
    probe_spec,
    probe_steps,
    setting_probes,
)
from dmix.training.comparison.yardstick.tilts import setting_tilts

SETTINGS = ComparisonSettings(
    name="s",
    source=("a",),
    target=("b",),
    steps=16,
    samples_per_step=10,
    objectives=(ComparisonObjective(name="o", role="general", path="p"),),
)
SPACE = DomainSpace(("x", "y", "z"), np.array([40, 30, 0, 0, 20, 10]))
TWO = DomainSpace(("x",), np.array([90, 30]))


@pytest.mark.parametrize("space", [SPACE, TWO])
def test_fresh_mixtures_are_none_of_the_yardsticks(space):
    fresh_MN = fresh_mixtures(SETTINGS, space, count=12)
    tilts_MN = setting_tilts(SETTINGS, space, count=12)
    assert fresh_MN.shape == tilts_MN.shape
    apart = np.abs(fresh_MN[:, None] - tilts_MN[None]).sum(-1)
    assert apart.min() > 1e-3
    np.testing.assert_allclose(fresh_MN.sum(1), 1)


def test_a_spec_gives_back_its_mixture():
    fresh_MN = fresh_mixtures(SETTINGS, SPACE, count=12)
    np.testing.assert_array_equal(mixture_of("fresh:3/12", SETTINGS, SPACE), fresh_MN[3])
    np.testing.assert_array_equal(mixture_of("natural", SETTINGS, SPACE), SPACE.natural_N)
    tilts_MN = setting_tilts(SETTINGS, SPACE, count=12)
    np.testing.assert_array_equal(mixture_of("tilt:2/12", SETTINGS, SPACE), tilts_MN[2])
    for probe in setting_probes(SETTINGS, SPACE):
        spec = probe_spec(probe, SPACE)
        np.testing.assert_array_equal(mixture_of(spec, SETTINGS, SPACE), probe.mixture_N)
        if probe.domains:
            assert probe_of(spec, SPACE).domains == probe.domains


def test_a_probe_is_a_quarter_of_a_run():
    assert probe_steps(SETTINGS) == 4

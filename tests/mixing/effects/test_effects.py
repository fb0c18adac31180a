import dataclasses

import numpy as np
import pytest

from dmix.mixing.effects.effects import centred, tilts
from dmix.warehouse_schema.errors import InputError


def test_signal_and_noise_are_those_of_random_tilts(make_effects):
    effects = make_effects([[1.0], [-1.0]], 0.1)
    moves = tilts(effects.natural_N) - effects.natural_N
    raw = np.sqrt(((moves[:, 0] - moves[:, 1]) ** 2).mean())
    noise = np.sqrt((0.01 * (moves**2).sum(1)).mean())
    assert effects.noise_D == pytest.approx([noise])
    assert effects.signal_D == pytest.approx([np.sqrt(raw**2 - noise**2)])
    assert effects.reliability_D == pytest.approx([(raw**2 - noise**2) / raw**2])
    assert effects.telling_D.tolist() == [True]


def test_effects_that_are_smaller_than_their_errors_tell_nothing(make_effects):
    effects = make_effects([[0.1], [-0.1]], 0.3)
    assert effects.telling_D.tolist() == [False]
    assert effects.reliability_D.tolist() == [0.0]


def test_effects_without_error_tell_if_they_are_not_zero(make_effects):
    assert make_effects([[0.1, 0], [-0.1, 0]], 0.0).telling_D.tolist() == [True, False]


def test_centred_effects_sum_to_zero_by_natural_shares():
    natural = np.array([0.75, 0.25, 0.0])
    found = centred(np.array([[1.0], [5.0], [7.0]]), natural)
    assert found.ravel().tolist() == [-1.0, 3.0, 0.0]
    assert natural @ found == pytest.approx([0])


def test_tilts_are_mixtures_of_the_same_domains():
    found = tilts(np.array([0.5, 0.0, 0.5]), number=7)
    assert found.shape == (7, 3) and found.sum(1) == pytest.approx(np.ones(7))
    assert not found[:, 1].any()


def test_shapes_and_numbers_that_do_not_fit_are_refused(make_effects):
    with pytest.raises(InputError, match="not finite"):
        make_effects([[np.nan], [0.0]], 0.1)
    good = make_effects([[1.0], [-1.0]], 0.1)
    with pytest.raises(InputError, match="error matrix"):
        dataclasses.replace(good, errors=())
    with pytest.raises(InputError, match="expected"):
        dataclasses.replace(good, effect_ND=np.zeros((3, 1)))

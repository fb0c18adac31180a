"""Plans that check runs and probes inform, from rows written by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from tests.training.comparison.effects.stored_runs import LinearCounts
from tests.training.comparison.rivals.cell_rows import EFFECT_ND, OBJECTIVES, SETTINGS, SPACE, stored

from dmix.mixing.effects.effects import Effects
from dmix.mixing.effects.settings import CHECK_PULLS
from dmix.training.comparison.effects.rungs import (
    CHECKED,
    PROBED,
    find_rungs,
    pulled_mixture,
    rung_mixture,
    write_rungs,
)
from dmix.training.comparison.effects.world_plans import WorldPriors
from dmix.warehouse_schema.errors import InputError

WEIGHTS_D = np.array([0.5, 0.5])
PRIORS = WorldPriors(
    beta=0.7,
    gamma=0.1,
    q=0.1,
    natural_gain={"general": 0.0, "target": 0.0},
    drift=0.1,
    scale=0.2,
    direction=0.3,
    noise=0.4,
)
NATURAL_CHECKS = {"check-natural-0": SPACE.natural_N, "check-natural-1": SPACE.natural_N}


def counts(effect_ND):
    effect_ND = effect_ND - SPACE.natural_N @ effect_ND
    effects = Effects(
        name="counts",
        estimator="counts",
        dataset="d",
        environment="e",
        names=SPACE.names,
        natural_N=SPACE.natural_N,
        objectives=OBJECTIVES,
        roles=("general", "target"),
        effect_ND=effect_ND,
        errors=(1e-3 * np.eye(4), 1e-3 * np.eye(4)),
    )
    return SimpleNamespace(effects=effects, counts=LinearCounts(effect_ND))


def plans_at(found):
    return {
        f"check-{factor:g}": pulled_mixture(factor, SETTINGS, SPACE, counts=found, weights_D=WEIGHTS_D)
        for factor in CHECK_PULLS
    }


def rungs_of(found, checks):
    rows = stored(checks={**checks, **NATURAL_CHECKS})
    return find_rungs(rows, 0, counts=found, priors=PRIORS, weights_D=WEIGHTS_D)


def gain(mixture_N):
    return (mixture_N - SPACE.natural_N) @ EFFECT_ND


def test_a_stronger_pull_stays_nearer_to_natural_mixing():
    plans = plans_at(counts(EFFECT_ND))
    distances = [np.abs(mixture_N - SPACE.natural_N).sum() for mixture_N in plans.values()]
    assert distances == sorted(distances, reverse=True) and distances[0] > distances[-1]


def test_checks_take_the_pull_that_gains_most_and_probes_find_what_helps(tmp_path):
    found = counts(EFFECT_ND)
    checks = plans_at(found)
    rungs = rungs_of(found, checks)
    best = CHECK_PULLS[int(np.argmax(rungs.gains))]
    assert rungs.pull == best and max(rungs.gains) > 0 and len(rungs.stderrs) == len(CHECK_PULLS)
    np.testing.assert_allclose(rungs.mixtures[CHECKED], checks[f"check-{best:g}"])
    assert gain(np.array(rungs.mixtures[PROBED])).sum() > 0 and rungs.promised > 0
    assert rungs.prices[CHECKED] == len(CHECK_PULLS) + 2 and rungs.prices[PROBED] > 0
    with pytest.raises(InputError, match="--stage rungs"):
        rung_mixture(tmp_path, CHECKED)
    write_rungs(tmp_path, rungs)
    np.testing.assert_array_equal(rung_mixture(tmp_path, PROBED), rungs.mixtures[PROBED])


def test_counts_that_mislead_are_turned_down_by_checks_and_corrected_by_probes():
    wrong = counts(-EFFECT_ND)
    rungs = rungs_of(wrong, plans_at(wrong))
    assert rungs.pull is None
    np.testing.assert_array_equal(rungs.mixtures[CHECKED], SPACE.natural_N)
    value_D = WEIGHTS_D / wrong.effects.scales_D
    plan_N = pulled_mixture(1.0, SETTINGS, SPACE, counts=wrong, weights_D=WEIGHTS_D)
    assert gain(plan_N) @ value_D < 0 <= gain(np.array(rungs.mixtures[PROBED])) @ value_D


def test_missing_check_runs_name_the_stage():
    found = counts(EFFECT_ND)
    checks = plans_at(found)
    del checks["check-2"]
    with pytest.raises(InputError, match="check runs are missing; run --stage rungs"):
        rungs_of(found, checks)

"""What holds for every controller, whatever the run has seen."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dmix.mixing.controllers.registry import CONTROLLERS, make_controller

SPECS = {
    "static:FILE": "static:{root}/half.yaml",
    "source-share:SHARE": "source-share:0.05",
    "linear:FROM-TO": "linear:0.2-0.8",
    "cosine:FROM-TO": "cosine:0.2-0.8",
    "three-stage[:FROM-TO]": "three-stage",
    "sheared[:FILE]": "sheared",
    "agent:NAME": "agent:steersman",
    "untrained[:SEED]": "untrained:1",
    "replay:SET/TRAJECTORY": "replay:farm/static-0001",
    "best-of:SET": "best-of:farm",
    "python:MODULE:CLASS": "python:dmix.mixing.controllers.odm:OdmController",
}

# They need a fit before they are made; what holds for them is tested beside them.
SEARCHING = {
    "plan[:NAME]",
    "effect[:NAME]",
    "mixmin[:NAME]",
    "skill-it[:NAME]",
    "regmix-kl:SET",
    "regmix:SET",
    "regmix-d:SET",
    "schedule:SET",
    "decision-transformer:SET[:QUANTILE]",
}
QUICK = [kind for kind in CONTROLLERS if kind not in SEARCHING]


@pytest.fixture
def make(farm_warehouse, space):
    (farm_warehouse.root / "half.yaml").write_text("source: 1\ntarget: 1\n")

    def controller(kind):
        spec = SPECS.get(kind, kind).format(root=farm_warehouse.root)
        return make_controller(spec, warehouse=farm_warehouse, space=space)

    return controller


@st.composite
def runs(draw):
    """Mixtures, losses (NaN at random), counts and scores (NaN at random) of 0 to 12 steps."""
    steps, seed = draw(st.integers(0, 12)), draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    mixtures = np.insert(rng.dirichlet(np.full(3, 0.5), size=steps), 1, 0.0, axis=1)
    counts = np.stack([rng.multinomial(40, row) for row in mixtures]) if steps else np.empty((0, 4), int)
    losses = np.where(counts > 0, rng.uniform(0, 9, size=(steps, 4)), np.nan)
    scores = np.where(rng.random((steps + 1, 1)) < 0.1, np.nan, rng.normal(-3, 1, size=(steps + 1, 1)))
    return {
        "mixtures": mixtures,
        "losses": losses,
        "counts": counts,
        "feedback_TD": scores,
        "remaining_samples_N": np.array([30, 0, 0, 20]),
        "seed": seed,
        "steps": 12,
    }


@pytest.mark.parametrize("kind", QUICK)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=runs())
def test_proposals_are_mixtures_that_follow_from_the_history_alone(kind, run, make, history):
    seen = history(**run) if len(run["mixtures"]) else history(1, feedback_TD=run["feedback_TD"])
    controller = make(kind)
    mixture = controller.propose(seen).mixture_N
    assert mixture.shape == (4,) and mixture.dtype == np.float64
    assert np.isfinite(mixture).all() and (mixture >= 0).all()
    assert mixture.sum() == pytest.approx(1, abs=1e-12)
    assert mixture[1] == 0
    # neither what it was asked before nor who asks makes a difference
    controller.propose(history(1))
    again, fresh = controller.propose(seen).mixture_N, make(kind).propose(seen).mixture_N
    np.testing.assert_array_equal(again, mixture)
    np.testing.assert_array_equal(fresh, mixture)


@pytest.mark.parametrize("kind", QUICK)
def test_a_proposal_leaves_the_history_and_the_space_as_they_were(kind, make, history, space):
    seen = history(mixtures=[space.natural_N] * 4, losses=np.ones((4, 4)), counts=np.full((4, 4), 5))
    before = [seen.mixtures_TN.copy(), seen.losses_TN.copy(), seen.counts_TN.copy(), space.natural_N.copy()]
    make(kind).propose(seen).mixture_N[:] = 0.25
    after = [seen.mixtures_TN, seen.losses_TN, seen.counts_TN, space.natural_N]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)

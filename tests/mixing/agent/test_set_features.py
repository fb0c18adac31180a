"""Tokens of the set agent: every column worked by hand, and what does not come into them."""

import math

import numpy as np
import pytest

from dmix.mixing.agent.features import RunContext, tokens
from dmix.mixing.agent.set_features import (
    DOMAIN_WIDTH,
    OBJECTIVE_WIDTH,
    STEP_WIDTH,
    ObjectiveSpec,
    split_tokens,
)
from dmix.mixing.space.domains import DomainSpace

# R = 20 and M = 4: supply of 2, 0, 3 and 1 steps
SPACE = DomainSpace(("a", "b"), np.array([40, 0, 60, 20]))
MIXTURES = np.array([[1, 0, 0, 0], [0.5, 0, 0.25, 0.25], [0.2, 0, 0.8, 0]])
FEEDBACK = np.array([[0.0, 0.0], [1.0, -5.0], [2.0, 0.5]])
OBJECTIVE_SPEC = ObjectiveSpec.of(np.array([0.75, 0.25]), ("target", "general"))


def parts_of(
    mixtures=MIXTURES, feedback=FEEDBACK, *, space=SPACE, objective_spec=OBJECTIVE_SPEC, steps=4, **more
):
    context = RunContext(
        space=space, steps=steps, supply_N=space.samples_N / 20, objective_spec=objective_spec
    )
    found = tokens(mixtures, feedback, context=context, preset="default", **more)
    assert found.dtype == np.float32
    return split_tokens(found, domains=len(space))


def test_step_features_worked_by_hand():
    step, _, _ = parts_of()
    logs = [math.log1p(4) / 5, math.log1p(3) / 5, math.log1p(2) / 5]
    assert step[:, :3] == pytest.approx(
        np.stack([[1, 0.75, 0.5], logs, [0, math.log1p(1) / 5, math.log1p(2) / 5]], axis=1)
    )
    # target shares 0, .5 and .8; averages that keep half, and nine tenths, of the past
    assert step[:, 3] == pytest.approx([0, 0.5, 0.8])
    assert step[:, 4] == pytest.approx([0, 0.25, 0.525])
    assert step[:, 5] == pytest.approx([0, 0.05, 0.125])
    assert step[:, 6] == pytest.approx([80 / 120] * 3)
    # target 4 steps, then 3.5 and 2.7 for 4, 3 and 2 steps; source 2, then 1.5 and 1.3
    assert step[:, 7] == pytest.approx([1, 1, 1])
    assert step[:, 8] == pytest.approx([0.5, 0.5, 0.65])


def test_domain_features_worked_by_hand():
    _, domain, _ = parts_of()
    assert domain.shape == (3, 4, DOMAIN_WIDTH)
    third = domain[:, 2]
    assert (third[:, 0] == 1).all() and (domain[:, 0, 0] == -1).all()
    assert third[:, 1] == pytest.approx([0.75] * 3)
    # no target yet counts as natural; half of the target, then all of it
    assert third[:, 2] == pytest.approx([0.75, 0.5, 1])
    tilts = np.array([0, math.log(0.5 / 0.75), math.log(1 / 0.75)]) / 4
    assert third[:, 3] == pytest.approx(tilts, abs=1e-6)
    assert third[:, 4] == pytest.approx([0, tilts[1] / 2, tilts[1] / 4 + tilts[2] / 2], abs=1e-6)
    assert third[:, 5] == pytest.approx([0, tilts[1] / 10, 0.09 * tilts[1] + tilts[2] / 10], abs=1e-6)
    # 3, 2.75 and 1.95 steps' worth for 4, 3 and 2 steps at natural .75, capped at 2, over 2
    assert third[:, 6] == pytest.approx([0.5, 2.75 / 2.25 / 2, 1.95 / 1.5 / 2])
    assert third[:, 7] == pytest.approx([math.log(1.5) / 4] * 3)


def test_a_domain_that_is_left_out_has_the_smallest_tilt_and_an_empty_one_has_none():
    _, domain, _ = parts_of()
    assert domain[2, 3, 3] == pytest.approx(-1)
    assert (domain[:, 1] == 0).all()


def test_objective_features_worked_by_hand():
    _, _, objective = parts_of()
    assert objective.shape == (3, 2, OBJECTIVE_WIDTH)
    assert objective[:, 0, 0] == pytest.approx([0, 0.2, 0.4])
    assert objective[:, 1, 1] == pytest.approx([0, -1, 1.1])
    assert objective[:, :, 2] == pytest.approx(np.tile([0.75, 0.25], (3, 1)))
    assert objective[0, :, 3:].tolist() == [[0, 1], [1, 0]]


def test_objectives_without_roles_and_none_at_all():
    _, _, objective = parts_of(objective_spec=ObjectiveSpec.of(np.array([0.5, 0.5]), ()))
    assert (objective[..., 3:] == 0).all()
    step, domain, objective = parts_of(
        feedback=np.zeros((3, 0)), objective_spec=ObjectiveSpec.of(np.zeros(0), ())
    )
    assert objective.shape == (3, 0, OBJECTIVE_WIDTH)
    assert step.shape[1] + domain[0].size == STEP_WIDTH + 4 * DOMAIN_WIDTH


def test_nothing_depends_on_how_many_domains_share_a_field():
    """The natural start looks alike in 2 and in 1,152 domains of equal size."""
    views = []
    for labels in (1, 576):
        space = DomainSpace(tuple(map(str, range(labels))), np.full(2 * labels, 1152 // labels))
        mixtures = np.stack([space.start_N, space.natural_N])
        context = RunContext(
            space=space,
            steps=4,
            supply_N=space.samples_N / 600,
            objective_spec=ObjectiveSpec.of(np.zeros(0), ()),
        )
        found = tokens(mixtures, np.zeros((2, 0)), context=context, preset="default")
        step, domain, _ = split_tokens(found, domains=len(space))
        views.append((step, np.delete(domain[:, [0, -1]], [1, 2], axis=-1)))
    assert views[0][0] == pytest.approx(views[1][0], abs=1e-6)
    assert views[0][1] == pytest.approx(views[1][1], abs=1e-6)


def test_forgotten_steps_count_as_done():
    step, _, _ = parts_of(steps=12, truncated_steps=6)
    assert step[:, 0] == pytest.approx([1, 5 / 12, 4 / 12])
    assert step[:, 2] == pytest.approx(np.log1p([0, 7, 8]) / 5)


def test_tokens_of_another_space_are_refused():
    with pytest.raises(AssertionError, match=r"width \d+ at N = 6"):
        split_tokens(np.zeros((1, STEP_WIDTH + 4 * DOMAIN_WIDTH)), domains=6)

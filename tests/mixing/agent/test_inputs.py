"""What an agent reads of a run: its own objectives, or all that there are."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.mixing.agent.inputs import reading, told_of
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.warehouse_schema.errors import InputError

SPACE = DomainSpace(("a",), np.array([3, 1]))


def history(objectives=("keep", "learn"), scales=(1.0, 0.5), roles=("general", "target")):
    return History(
        space=SPACE,
        mixtures_TN=SPACE.start_N[None],
        feedback_TD=np.zeros((1, len(objectives))),
        objectives=objectives,
        weights_D=np.full(len(objectives), 1 / len(objectives)),
        scales_D=np.array(scales),
        steps=4,
        step_samples=2,
        remaining_samples_N=SPACE.samples_N,
        seed=0,
        roles=roles,
    )


def config(objectives, scales, *, fixed=False, **more):
    return SimpleNamespace(objectives=objectives, scales=scales, fixed_space=fixed, **more)


def test_the_papers_agent_reads_the_objectives_of_its_training_on_their_scales():
    read = reading(config(["learn"], [0.25], fixed=True), history())
    assert (read.objectives, read.scales_D.tolist(), read.objective_spec) == (("learn",), [0.25], None)


def test_a_run_without_an_objective_of_the_papers_agent_is_refused():
    with pytest.raises(InputError, match=r"the agent reads the objectives learn, code.* has no code"):
        reading(config(["learn", "code"], [0.25, 1.0], fixed=True), history())


def test_a_set_agent_reads_all_and_knows_scales_from_training_environment_or_its_median():
    run = history(("keep", "learn", "new"), (9.0, 0.5, 1.0), ("general", "target", "target"))
    read = reading(config(["keep", "a", "b"], [0.1, 0.3, 0.7]), run)
    # known from training; published; not published, so the median of 0.1, 0.3, 0.7
    assert read.scales_D.tolist() == [0.1, 0.5, 0.3]
    assert read.objectives == ("keep", "learn", "new")
    assert read.objective_spec.weights_D.tolist() == pytest.approx([1 / 3] * 3)


def test_a_set_agent_without_objectives_reads_none():
    read = reading(config([], []), history())
    assert read.objectives == () and len(read.scales_D) == 0


@pytest.mark.parametrize(
    "prediction", [None, SimpleNamespace(objectives=("keep",)), SimpleNamespace(objectives=("learn", "keep"))]
)
def test_an_agent_of_effects_needs_those_of_the_run_in_its_order(prediction):
    with pytest.raises(InputError, match=r"helper needs effects on keep, learn.*dmix mix probe"):
        reading(config(["keep"], [1.0], effects=True), history(), name="helper", prediction=prediction)


def test_effects_are_told_relative_to_natural_mixing():
    effect_ND = np.array([[0.4, 0.0], [0.8, 4.0]])
    prediction = SimpleNamespace(
        natural_N=SPACE.natural_N,
        objectives=("keep", "learn"),
        gradient=lambda mixture_N: effect_ND,
        errors=(np.array([[3.0, 0.0], [4.0, 0.0]]), np.zeros((1, 2))),
    )
    shifted = SimpleNamespace(**{**vars(prediction), "gradient": lambda mixture_N: effect_ND + 7.0})
    told = told_of(history(), prediction).effects_N4
    assert told.shape == (2, 4)
    np.testing.assert_allclose(told_of(history(), shifted).effects_N4, told, atol=1e-12)
    assert told_of(history()).effects_N4 is None

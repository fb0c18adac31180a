"""The schedule that a model of the farm finds best."""

import functools

import numpy as np
from tests.mixing.controllers.scored_farm import (
    a_lasts_and_b_fades,
    mixtures_of,
    scored_farm,
)

from dmix.mixing.controllers import schedule
from dmix.mixing.world_model.schedule_search import ScheduleSettings

farm = scored_farm


def test_schedule_ends_with_what_fades(farm, monkeypatch):
    small = functools.partial(ScheduleSettings, models=2, model_steps=150, ascent_steps=60)
    monkeypatch.setattr(schedule, "ScheduleSettings", small)
    warehouse = farm(a_lasts_and_b_fades, segments=40)
    found = mixtures_of("schedule:set", warehouse)
    assert found[:3, 0].min() > 0.6
    assert found[4, 3] > 0.6
    monkeypatch.setattr(schedule, "find_schedule", None)
    assert np.array_equal(mixtures_of("schedule:set", warehouse), found)
    # a run of ten steps makes each of the five mixtures twice
    assert np.array_equal(mixtures_of("schedule:set", warehouse, steps=10), found.repeat(2, axis=0))

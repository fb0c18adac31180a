"""Gradients of a run where its effect agent asks for them."""

from dataclasses import replace

import numpy as np
import pytest

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.training.model.models import load_model
from dmix.training.run.assembly.gradients import run_gradients


@pytest.fixture
def opened(whole_job):
    with MixedDataset(whole_job.manifest, whole_job.streams) as dataset:
        yield dataset


@pytest.mark.parametrize("changes", [{}, {"gradients_every": 2, "environment": None}])
def test_nothing_is_taken_where_no_agent_asks(whole_job, opened, changes):
    assert run_gradients(replace(whole_job, **changes), None, opened) is None


def test_samples_of_a_domain_are_spread_over_it(whole_job, opened):
    model = load_model(whole_job.model, whole_job.manifest)
    found = run_gradients(
        replace(whole_job, gradients_every=2, plan=replace(whole_job.plan, step_samples=400)), model, opened
    )
    assert found.every == 2 and found.due(3)
    # the target's first domain begins behind 96 and 40 samples of the source; 64 of its own
    index = next(i for i, s in enumerate(whole_job.manifest.streams) if s.samples == 64)
    taken = found.task.samples(index, 4)
    assert taken.shape == (4, 16)
    everything = opened.batch(np.arange(136, 200))["input_ids"].numpy()
    places = [np.flatnonzero((everything == row).all(1)).tolist() for row in taken]
    assert all(places) and np.array_equal(found.task.samples(index, 64), everything)
    # a linear warm-up of none and a decay: the sum lies below one full rate for each sample
    assert found.rates > 0

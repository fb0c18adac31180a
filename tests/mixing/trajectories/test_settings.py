"""Presets, and what settings refuse."""

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.warehouse_schema.errors import InputError

SPACE = DomainSpace(("a", "b"), np.array([300, 200, 400, 100]))


def test_paper_preset_has_the_sizes_of_the_paper():
    resolved = SampleSettings(preset="paper").resolved(SPACE)
    assert (resolved.paths, resolved.steps, resolved.candidates, resolved.random_paths) == (96, 80, 20_000, 0)
    assert resolved.top_k == (1, 100, 1_000, 10_000)
    assert (resolved.alpha, resolved.beta, resolved.gamma) == (1, 1, 1)


def test_default_preset_has_128_trajectories_of_16_steps():
    resolved = SampleSettings().resolved(SPACE)
    assert resolved.paths * len(resolved.top_k) + resolved.random_paths == 128
    assert (resolved.paths, resolved.random_paths, resolved.steps) == (21, 44, 16)


def test_fewer_paths_keep_a_third_random():
    resolved = SampleSettings(paths=4, top_k=(1, 10)).resolved(SPACE)
    assert resolved.random_paths == 4


def test_auto_is_the_smallest_multiple_of_the_batch_that_covers_everything():
    resolved = SampleSettings(steps=16, batch_size=8).resolved(SPACE)
    # 1000 samples in 16 steps: 62.5 a step, so 64
    assert resolved.run_samples_per_step == resolved.samples_per_step == 64


def test_samples_per_step_of_the_farm_may_differ_from_the_runs():
    resolved = SampleSettings(samples_per_step="16", batch_size=8).resolved(SPACE)
    assert (resolved.samples_per_step, resolved.run_samples_per_step) == (16, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": 0}, "--paths is 0, expected at least 1"),
        ({"steps": 0}, "--steps is 0"),
        ({"top_k": (0,)}, "--top-k is 0"),
        ({"top_k": (1, 1)}, "--top-k has a K twice"),
        ({"candidates": 100}, "K is 1000, but a step has 100 candidates"),
        ({"seed": -1}, "--seed is -1, expected 0 or more"),
        ({"alpha": float("nan")}, "--alpha is nan"),
        ({"random_paths": -1}, "--random-paths is -1"),
        ({"samples_per_step": "many"}, "--samples-per-step is 'many', expected auto or a number"),
        (
            {"samples_per_step": 40},
            "--samples-per-step is 40, which is not a multiple of the batch of 32; use 32 or 64",
        ),
        ({"run_samples_per_step": "8"}, "--run-samples-per-step is 8, which is not a multiple .*; use 32"),
    ],
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SampleSettings(**changes)


def test_empty_field_is_refused():
    with pytest.raises(InputError, match="target field has no samples"):
        SampleSettings().resolved(DomainSpace(("a",), np.array([5, 0])))

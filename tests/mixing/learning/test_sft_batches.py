"""What is held out, what an error counts, and how examples are put into batches."""

import itertools

import numpy as np
import pytest
import torch

from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.learning.sft_batches import batches, error_weights, split
from dmix.mixing.offline.sft_examples import Example, SftDataset
from dmix.mixing.space.domains import DomainSpace

CPU = torch.device("cpu")


def dataset(count, *, spread=0.1, domains=4, seed=0):
    """Examples whose first token is their number; mixtures vary by `spread` around the same shares."""
    rng = np.random.default_rng(seed)
    examples = [
        Example(
            tokens_TX=np.full((2, 3), number, np.float32),
            mixtures_TN=(1 / domains + spread * rng.standard_normal((2, domains))).astype(np.float32),
        )
        for number in range(count)
    ]
    samples = np.arange(domains)  # the first domain has none
    return SftDataset(examples=examples, space=DomainSpace(("a", "b", "c")[: domains // 2], samples))


def numbers(found):
    return [[int(example.tokens_TX[0, 0]) for example in batch.examples] for batch in found]


def test_a_share_is_held_out_and_every_example_is_in_one_part():
    settings = SftSettings(held_out=0.25)
    training, held_out = split([dataset(10)], settings=settings, rng=np.random.default_rng(0), device=CPU)
    [kept], [out] = numbers(training), numbers(held_out)
    assert len(out) == 3 and sorted(kept + out) == list(range(10))
    assert training[0].active_N.tolist() == [False, True, True, True] and training[0].weight == 1.0


def test_few_trajectories_are_all_trained_on():
    training, held_out = split(
        [dataset(4)], settings=SftSettings(held_out=0.5), rng=np.random.default_rng(0), device=CPU
    )
    assert held_out == [] and len(training[0].examples) == 4


def test_errors_weigh_as_the_variance_of_their_set():
    near, far = dataset(50, spread=0.01), dataset(50, spread=0.1)
    weights = error_weights([near, far])
    assert weights[0] / weights[1] == pytest.approx(100, rel=0.3)
    assert error_weights([near]) == [1.0]
    # mixtures that never vary have a bound in place of a division by zero
    assert np.isfinite(error_weights([dataset(2, spread=0.0), far])).all()


def test_batches_hold_one_set_each_and_lose_no_example():
    settings = SftSettings(held_out=0.0)
    parts, _ = split(
        [dataset(4), dataset(3, domains=6)], settings=settings, rng=np.random.default_rng(0), device=CPU
    )
    ordered = batches(parts, SftSettings(batch_trajectories=3))
    assert [len(batch.examples) for batch in ordered] == [3, 1, 3]
    assert {len(batch.active_N) for batch in ordered} == {4, 6}
    mixed = batches(parts, SftSettings(batch_trajectories=3), np.random.default_rng(1))
    assert sorted(map(len, numbers(mixed))) == [1, 3, 3]
    assert sorted(itertools.chain(*numbers(mixed))) == sorted(itertools.chain(*numbers(ordered)))
    again = batches(parts, SftSettings(batch_trajectories=3), np.random.default_rng(1))
    assert numbers(again) == numbers(mixed)

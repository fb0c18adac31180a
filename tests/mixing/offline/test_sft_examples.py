"""What SFT learns from: trajectories of the lowest K, with feedback where there is some."""

import numpy as np
import pytest
from tests.mixing.sampled_sets import NAMES, STEPS, add_feedback, sampled

from dmix.mixing.offline.sft_examples import load_sft_dataset
from dmix.mixing.trajectories.feedback import farm_scales, write_feedback
from dmix.mixing.trajectories.sampling import read_trajectories
from dmix.warehouse_schema.errors import InputError


@pytest.fixture(scope="module")
def make_set(make_manifest, tmp_path_factory):
    return lambda **changes: sampled(tmp_path_factory.mktemp("set"), make_manifest, **changes)


def test_lessons_are_the_trajectories_of_k_1(make_set):
    warehouse = make_set(paths=3)
    dataset = load_sft_dataset(warehouse, set_name="set", preset=None)
    taught = [t for t in read_trajectories(warehouse, "set") if t.top_k == 1]
    assert len(dataset.examples) == 3
    for example, trajectory in zip(dataset.examples, taught, strict=True):
        assert example.mixtures_TN == pytest.approx(trajectory.mixtures_TN[1:], abs=1e-6)
        assert example.tokens_TX[:, :8] == pytest.approx(trajectory.mixtures_TN[:-1], abs=1e-6)
    assert dataset.target_supply == pytest.approx(400 / (STEPS * 72))


def test_without_k_1_default_takes_the_lowest_k_and_paper_refuses(make_set):
    warehouse = make_set(top_k=(20, 5), paths=2)
    assert len(load_sft_dataset(warehouse, set_name="set", preset="default").examples) == 2
    with pytest.raises(InputError, match=r"no trajectories with K = 1 .*the lowest K is 5"):
        load_sft_dataset(warehouse, set_name="set", preset="paper")


def test_feedback_becomes_features_and_its_absence_zeros(make_set):
    warehouse = make_set(paths=3)
    scores = add_feedback(warehouse, limit=2)
    dataset = load_sft_dataset(warehouse, set_name="set", preset="paper")
    assert (dataset.objectives, dataset.with_feedback) == (NAMES, 2)
    assert dataset.scales_D == pytest.approx(farm_scales(scores.values(), objectives=NAMES))
    first = next(iter(scores.values()))
    pooled = np.concatenate(list(scores.values()))
    wanted = (first - pooled.mean(0)) / pooled.std(0)
    assert dataset.examples[0].tokens_TX[:, 8:] == pytest.approx(wanted[:-1], abs=1e-5)
    assert (dataset.examples[2].tokens_TX[:, 8:] == 0).all()


def test_published_scales_of_the_set_win_over_computed_ones(make_set):
    warehouse = make_set(paths=3)
    add_feedback(warehouse)
    (warehouse.feedback("set") / "environment.yaml").write_text(
        "objectives:\n"
        "- {name: general, role: general, kind: qa, path: a.jsonl}\n"
        "- {name: math, role: target, kind: qa, path: b.jsonl}\n"
        "scales: {general: 0.5, math: 0.25}\n"
    )
    assert load_sft_dataset(warehouse, set_name="set", preset=None).scales_D.tolist() == [0.5, 0.25]


def test_feedback_of_another_length_is_refused(make_set):
    warehouse = make_set(paths=3)
    write_feedback(
        warehouse,
        set_name="set",
        trajectory_id="inductive-1-0000",
        objectives=NAMES,
        scores_TD=np.random.default_rng(0).normal(size=(3, 2)),
    )
    with pytest.raises(InputError, match=r"inductive-1-0000 has \d+ entries, but feedback on 3"):
        load_sft_dataset(warehouse, set_name="set", preset=None)

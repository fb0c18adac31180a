"""Fine-tuning of the set agent: sets of several spaces at once, and what carries over to others."""

import numpy as np
import pytest
import torch

from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_features import split_tokens
from dmix.mixing.agent.store import load_agent
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.learning.sft import train_sft
from dmix.mixing.learning.sft_batches import error_weights
from dmix.mixing.offline.sft_examples import Example, SftDataset, load_sft_dataset
from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.sampling import read_trajectories, sample_trajectories
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

PATHS = {6: 4, 12: 10, 52: 4}
TINY = {"hidden_size": 32, "heads": 2, "feedforward": 64, "domain_width": 16}


@pytest.fixture(scope="module")
def warehouse(make_manifest, tmp_path_factory):
    """Sets of K = 1 paths in spaces of 6, 12 and 52 domains, without feedback."""
    warehouse = Warehouse.at(tmp_path_factory.mktemp("sets"))
    for domains, paths in PATHS.items():
        samples = np.random.default_rng(domains).integers(40, 400, domains)
        samples[1] = 0
        sample_trajectories(
            warehouse,
            manifest=make_manifest(samples),
            set_name=f"of-{domains}",
            settings=SampleSettings(
                top_k=(1,), paths=paths, random_paths=0, candidates=300, steps=12, batch_size=8
            ),
            processes=1,
        )
    return warehouse


def settings(**changes):
    return SftSettings(architecture="set", **{**TINY, **changes})


@pytest.fixture(scope="module")
def taught(warehouse):
    """An agent that learnt in the space of 12 domains, and what training said."""
    result = train_sft(
        warehouse, set_name="of-12", agent_name="taught", settings=settings(epochs=60, learning_rate=3e-3)
    )
    return load_agent(warehouse, "taught"), result


def share_error(agent, warehouse, domains):
    """Mean squared error of the target share over the paths of a set."""
    dataset = load_sft_dataset(warehouse, set_name=f"of-{domains}", preset=None, as_sets=True)
    errors = []
    for example in dataset.examples:
        active = torch.tensor(dataset.space.active_N)[None]
        with torch.no_grad():
            found = agent(torch.from_numpy(example.tokens_TX)[None], active)[0].numpy()
        target = dataset.space.target_N
        errors.extend((found[:, target].sum(1) - example.mixtures_TN[:, target].sum(1)) ** 2)
    return float(np.mean(errors))


def test_training_lowers_both_losses(taught):
    _, result = taught
    best = result.best_epoch - 1
    assert result.train_losses[best] < 0.4 * result.train_losses[0]
    assert result.held_out_losses[best] < 0.5 * result.held_out_losses[0]
    assert result.set_losses == pytest.approx([result.held_out_losses[best]])


@pytest.mark.parametrize("domains", [6, 12, 52])
def test_the_field_share_carries_over_to_spaces_it_never_saw(taught, warehouse, domains):
    untrained = SetAgent(taught[0].config).eval()
    assert share_error(taught[0], warehouse, domains) < 0.35 * share_error(untrained, warehouse, domains)


def test_one_training_takes_sets_of_several_spaces(warehouse):
    result = train_sft(
        warehouse,
        set_name="of-12",
        more_sets=("of-6", "of-52"),
        agent_name="several",
        settings=settings(epochs=3),
    )
    assert (len(result.set_losses), result.trajectories) == (3, 18)
    # of-6 and of-52 have 4 paths and hold none out: what is measured are training losses
    assert all(0 < loss < 0.5 for loss in result.set_losses)
    config = load_agent(warehouse, "several").config
    assert [(space["set"], space["domains"], space["active"]) for space in config.spaces] == [
        ("of-12", 12, 11),
        ("of-6", 6, 5),
        ("of-52", 52, 51),
    ]
    assert config.set_name == "of-12, of-6, of-52"


def test_same_seed_gives_the_same_agent(warehouse):
    def weights(name, seed):
        given = {"set_name": "of-6", "more_sets": ("of-52",), "agent_name": name}
        train_sft(warehouse, **given, settings=settings(epochs=1, seed=seed))
        return load_agent(warehouse, name).state_dict()

    first, again, other = weights("a", 0), weights("b", 0), weights("c", 1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["encoder.gate.weight"], other["encoder.gate.weight"])


def test_an_error_counts_by_how_much_the_mixtures_of_its_set_differ(warehouse):
    def taught_set(mixtures):
        example = Example(
            tokens_TX=np.zeros((len(mixtures), 1), np.float32), mixtures_TN=np.array(mixtures, np.float32)
        )
        return SftDataset(examples=[example], space=None)

    wide, narrow = taught_set([[1, 0], [0, 1]]), taught_set([[0.6, 0.4], [0.4, 0.6]])
    # variances .5 and .02, their mean .26
    assert error_weights([wide, narrow]) == pytest.approx([0.52, 13])
    assert error_weights([narrow]) == [1.0]


def test_lessons_hold_roles_and_weights_of_the_environment(warehouse):
    first = read_trajectories(warehouse, "of-6")[0]
    scores = np.random.default_rng(0).normal(size=(len(first.mixtures_TN), 2))
    write_feedback(
        warehouse,
        set_name="of-6",
        trajectory_id=first.trajectory_id,
        objectives=("math", "kept"),
        scores_TD=scores,
    )
    (warehouse.feedback("of-6") / "environment.yaml").write_text(
        "objectives:\n"
        "- {name: kept, role: general, kind: qa, path: a.jsonl, weight: 3}\n"
        "- {name: math, role: target, kind: qa, path: b.jsonl, weight: 1}\n"
        "scales: {kept: 0.5, math: 0.25}\n"
    )
    dataset = load_sft_dataset(warehouse, set_name="of-6", preset="paper", as_sets=True)
    assert (dataset.preset, dataset.objectives, dataset.with_feedback) == ("default", ("math", "kept"), 1)
    _, _, objectives = split_tokens(dataset.examples[0].tokens_TX, domains=6)
    assert objectives[0, :, 2:].tolist() == [[0.25, 0, 1], [0.75, 1, 0]]


@pytest.mark.parametrize(
    ("changes", "more_sets", "message"),
    [
        (
            {"architecture": "paper"},
            ("of-6",),
            r"learns from one set, but 2 were given \(of-12, of-6\)",
        ),
        ({}, ("of-6", "of-6"), "contains a set twice"),
    ],
)
def test_sets_that_do_not_go_together_are_refused(warehouse, changes, more_sets, message):
    chosen = SftSettings(**{"architecture": "set", **TINY, **changes})
    with pytest.raises(InputError, match=message):
        train_sft(warehouse, set_name="of-12", more_sets=more_sets, agent_name="no", settings=chosen)


def test_the_set_agent_is_no_part_of_the_paper():
    with pytest.raises(InputError, match="--architecture set does not work with --preset paper"):
        SftSettings(architecture="set", preset="paper")
    assert SftSettings().widths == (256, 1024)
    assert SftSettings(architecture="set").widths == (128, 256)

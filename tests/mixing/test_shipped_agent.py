"""The agent that comes with dmix: its files, its card, and what it proposes in spaces it never saw."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import yaml
from setuptools.dist import Distribution

from dmix.mixing.agent.folders import agent_folder, shipped_agents
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.store import load_agent
from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.warehouse_schema.files.layout import Warehouse

ROOT = Path(__file__).parents[2]
NAME = "dmix-base-1"
FILES = {"config.json", "model.safetensors", "README.md"}
# Sets that may be used for research or non-commercial purposes alone.
RESEARCH_ONLY = ("newsgroups", "bbc_news", "reuters", "ag_news", "brown", "asdiv")


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path / "warehouse")


def test_it_is_found_by_name_and_a_warehouse_may_have_its_own_of_that_name(warehouse):
    assert NAME in shipped_agents()
    assert agent_folder(warehouse, NAME) == Path(str(resources.files("dmix.mixing"))) / "assets" / NAME
    own = warehouse.agent(NAME)
    own.mkdir(parents=True)
    (own / "config.json").write_text("{}")
    assert agent_folder(warehouse, NAME) == own


def test_its_files_take_at_most_ten_megabytes(warehouse):
    sizes = {path.name: path.stat().st_size for path in agent_folder(warehouse, NAME).iterdir()}
    assert set(sizes) == FILES
    assert sum(sizes.values()) <= 10_000_000


def test_a_wheel_holds_its_files(monkeypatch):
    monkeypatch.chdir(ROOT)
    distribution = Distribution()
    distribution.parse_config_files([str(ROOT / "setup.cfg")])
    build = distribution.get_command_obj("build_py")
    build.ensure_finalized()
    packed = {name for package, _, _, names in build.data_files if package == "dmix.mixing" for name in names}
    assert {f"assets/{NAME}/{name}" for name in FILES} <= packed


def test_its_card_names_every_corpus_it_learnt_from_and_no_research_only_one(warehouse):
    setting = yaml.safe_load((ROOT / "benchmarks/quality/licensed.yaml").read_text())
    card = (agent_folder(warehouse, NAME) / "README.md").read_text()
    for corpus in (*setting["source"], *setting["target"]):
        assert Path(corpus).name.removesuffix(".jsonl.gz") in card
    for objective in setting["objectives"]:
        assert objective["name"] in card
    assert not [name for name in RESEARCH_ONLY if name in card.lower()]


def spaces():
    rng = np.random.default_rng(0)
    for number in (2, 6, 35, 52, 1152):
        samples_N = rng.integers(50, 500, number + number % 2)
        samples_N[number:] = 0
        yield DomainSpace(tuple(f"topic-{place}" for place in range(len(samples_N) // 2)), samples_N)


def history(space, feedback_TD, *, names=("keep", "learn"), roles=("general", "target"), steps=16):
    """A run under natural shares with these scores, scales of 0.2 nats a token."""
    done = len(feedback_TD) - 1
    mixtures_TN = np.vstack([space.start_N, np.tile(space.natural_N, (done, 1))])
    return History(
        space=space,
        mixtures_TN=mixtures_TN,
        feedback_TD=feedback_TD,
        objectives=names,
        weights_D=np.full(len(names), 1 / len(names)),
        scales_D=np.full(len(names), 0.2),
        roles=roles,
        steps=steps,
        step_samples=int(space.samples_N.sum()) // steps,
        remaining_samples_N=space.samples_N,
        seed=0,
    )


def proposed(warehouse, found):
    return make_controller(f"agent:{NAME}", warehouse=warehouse, space=found.space).propose(found)


def test_it_is_a_set_agent_that_reads_scores(warehouse):
    agent = load_agent(warehouse, NAME)
    assert isinstance(agent, SetAgent) and agent.config.objectives
    assert agent.config.stage in ("rl", "clone")


@pytest.mark.parametrize("space", list(spaces()), ids=len)
def test_it_proposes_mixtures_over_any_number_of_domains(warehouse, space):
    scores_TD = np.array([[-3.0, -4.0], [-3.1, -3.6], [-3.2, -3.4]])
    first, second = (proposed(warehouse, history(space, scores_TD)) for _ in range(2))
    assert not first.note
    assert first.mixture_N.sum() == pytest.approx(1)
    assert (first.mixture_N[space.active_N] > 0).all() and (first.mixture_N[~space.active_N] == 0).all()
    np.testing.assert_array_equal(first.mixture_N, second.mixture_N)


@pytest.mark.parametrize("number", [1, 2, 7])
def test_it_reads_any_number_of_objectives(warehouse, number):
    space = next(spaces())
    scores_TD = np.tile(np.linspace(-4, -3, 3)[:, None], (1, number))
    names, roles = tuple(f"goal-{place}" for place in range(number)), ("target",) * number
    found = proposed(warehouse, history(space, scores_TD, names=names, roles=roles))
    assert not found.note and found.mixture_N.sum() == pytest.approx(1)


@pytest.mark.parametrize("space", [space for space in spaces() if len(space) <= 52], ids=len)
def test_it_plays_more_of_the_source_when_scores_say_that_the_model_forgets(warehouse, space):
    learns_T = np.linspace(-4.0, -3.5, 7)
    shares = []
    for lost in (0.0, 0.6):
        scores_TD = np.stack([-3.0 - np.linspace(0, lost, 7), learns_T], axis=1)
        mixture_N = proposed(warehouse, history(space, scores_TD)).mixture_N
        shares.append(space.coarsen(mixture_N)[1])
    assert shares[1] < shares[0] - 1e-3


@pytest.mark.parametrize("steps", [4, 16, 40, 80])
def test_it_steers_runs_of_other_lengths_to_their_end(warehouse, steps):
    space = next(spaces())
    scores_TD = np.linspace([-3.0, -4.0], [-3.1, -3.2], steps)
    found = proposed(warehouse, history(space, scores_TD, steps=steps))
    assert not found.note and 0 < space.coarsen(found.mixture_N)[1] < 1

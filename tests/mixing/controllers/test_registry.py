"""Controllers by the names users give: mixtures worked by hand, and what they refuse."""

import numpy as np
import pytest
import torch

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.store import publish_agent
from dmix.mixing.controllers.agent import AgentController
from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.trajectories.store import Trajectory, TrajectorySet, publish_set, write_trajectory
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse

SPACE = DomainSpace(("News-2", "Law/Tax"), np.array([30, 0, 50, 20]))


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


def history(step=1, feedback=None, **changes):
    given = {
        "space": SPACE,
        "mixtures_TN": np.tile(SPACE.start_N, (step, 1)),
        "feedback_TD": np.full((step, 1), -3.0) if feedback is None else feedback,
        "objectives": ("x",),
        "weights_D": np.ones(1),
        "scales_D": np.ones(1),
        "steps": 5,
        "step_samples": 20,
        "remaining_samples_N": SPACE.samples_N,
        "seed": 0,
    }
    return History(**{**given, **changes})


def propose(spec, warehouse, **changes):
    return make_controller(spec, warehouse=warehouse, space=SPACE).propose(history(**changes)).mixture_N


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("naive", [0, 0, 5 / 7, 2 / 7]),
        ("natural", [0.3, 0, 0.5, 0.2]),
        ("stratified", [1 / 3, 0, 1 / 3, 1 / 3]),
    ],
)
def test_baselines_worked_by_hand(spec, wanted, warehouse):
    assert propose(spec, warehouse) == pytest.approx(wanted)
    assert make_controller(spec, warehouse=warehouse, space=SPACE).name == spec


def static(tmp_path, content):
    file = tmp_path / "mix.yaml"
    file.write_text(content)
    return f"static:{file}"


def test_static_file_is_normalised(tmp_path, warehouse):
    spec = static(tmp_path, "source/News-2: 1\ntarget/Law/Tax: 3\n")
    assert propose(spec, warehouse) == pytest.approx([0.25, 0, 0, 0.75])
    assert make_controller(spec, warehouse=warehouse, space=SPACE).name == "static:mix.yaml"


def test_static_field_is_spread_by_natural_shares(tmp_path, warehouse):
    spec = static(tmp_path, "source: 0.3\ntarget: 0.6\ntarget/Law/Tax: 1e-1\n")
    assert propose(spec, warehouse) == pytest.approx([0.3, 0, 0.6 * 5 / 7, 0.6 * 2 / 7 + 0.1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "source/News2: 1",
            "'source/News2' is not a field/domain of the dataset; did you mean 'source/News-2'",
        ),
        ("zzz: 1", "for example 'source/News-2'"),
        ("source/Law/Tax: 0.5", "has weight 0.5, but the dataset has no sample"),
        ("source: -1", "source is -1, expected a finite number"),
        ("source: .nan", "source is nan, expected a finite number"),
        ("source: much", "source is 'much', expected a finite number"),
        ("source: true", "source is True, expected a finite number"),
        ("source: 0", "the weights sum to 0"),
        ("", "the weights sum to 0"),
        ("[1, 2]", "expected names with values"),
    ],
)
def test_static_refuses(content, message, tmp_path, warehouse):
    with pytest.raises(InputError, match=message):
        make_controller(static(tmp_path, content), warehouse=warehouse, space=SPACE)


def test_static_names_zero_weight_on_an_empty_domain_in_peace(tmp_path, warehouse):
    assert propose(static(tmp_path, "source: 1\nsource/Law/Tax: 0\n"), warehouse) == pytest.approx(
        SPACE.start_N
    )


@pytest.mark.parametrize("weight", [".nan", ".inf", "-1", "10⁻³", "9" * 400, "nan"])
def test_static_weight_that_is_no_finite_number_is_refused(tmp_path, warehouse, weight):
    with pytest.raises(InputError, match=r"source/Law/Tax is .*expected a finite number"):
        make_controller(static(tmp_path, f"source/Law/Tax: {weight}\n"), warehouse=warehouse, space=SPACE)


def test_static_file_that_is_missing(warehouse):
    with pytest.raises(NotFoundError, match=r"nowhere.yaml does not exist"):
        make_controller("static:nowhere.yaml", warehouse=warehouse, space=SPACE)


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("nautral", "did you mean 'natural'"),
        ("static", "did you mean 'static:FILE'"),
        ("natural:x", ""),
        ("", ""),
    ],
)
def test_unknown_controllers_list_the_known_ones(spec, hint, warehouse):
    with pytest.raises(InputError, match=rf"is not one of natural, naive.*{hint}"):
        make_controller(spec, warehouse=warehouse, space=SPACE)


@pytest.fixture
def replayed(warehouse):
    """A set with one trajectory of two steps."""
    publish_set(
        warehouse,
        TrajectorySet(
            set_name="set",
            dataset="d",
            preset="default",
            settings={},
            space=SPACE.names,
            samples=(30, 0, 50, 20),
            step_samples=20,
            run_step_samples=20,
            steps=5,
        ),
    )
    mixtures = np.array([SPACE.start_N, [0.6, 0, 0.4, 0], [0.1, 0.1, 0.2, 0.6]])
    write_trajectory(
        warehouse.trajectories("set"),
        Trajectory(trajectory_id="static-0000", kind="static", top_k=None, mixtures_TN=mixtures),
    )
    return warehouse


def test_replay_gives_entry_t_masked_and_then_the_last_one(replayed):
    found = [propose("replay:set/static-0000", replayed, step=step) for step in (1, 2, 3)]
    assert found[0] == pytest.approx([0.6, 0, 0.4, 0])
    assert found[1] == pytest.approx(np.array([0.1, 0, 0.2, 0.6]) / 0.9)
    assert np.array_equal(found[1], found[2])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("replay:set", "write replay:SET/TRAJECTORY"),
        ("replay:set/none", r"no trajectory 'none' \(first ones: static-0000\)"),
        ("replay:other/static-0000", "set 'other' is not in"),
    ],
)
def test_replay_refuses(spec, message, replayed):
    with pytest.raises(InputError, match=message):
        make_controller(spec, warehouse=replayed, space=SPACE)


def test_replay_refuses_another_space(replayed):
    with pytest.raises(InputError, match=r"set 'set' has other domains .*same taxonomy"):
        make_controller(
            "replay:set/static-0000", warehouse=replayed, space=DomainSpace(("a",), np.array([1, 1]))
        )


def agent(**changes):
    torch.manual_seed(0)
    given = {"labels": SPACE.labels, "objectives": ["x"], "scales": [0.5], "hidden_size": 16, "heads": 2}
    return MixingAgent(MixingAgentConfig(**{**given, "feedforward": 32, **changes})).eval()


def test_agent_is_found_by_name_and_by_folder(warehouse):
    folder = publish_agent(warehouse, agent=agent(), name="first", stage="sft", notes=[])
    by_name, by_folder = (propose(f"agent:{name}", warehouse) for name in ("first", folder))
    assert np.array_equal(by_name, by_folder)
    assert by_name.dtype == np.float64
    assert by_name.sum() == pytest.approx(1, abs=1e-15)
    assert by_name[1] == 0


def test_agent_of_other_labels_is_refused(warehouse):
    publish_agent(warehouse, agent=agent(labels=["a", "b"]), name="first", stage="sft", notes=[])
    with pytest.raises(
        InputError,
        match=r"agent 'first' has 2 labels \(a, b, …\), .*dataset has 2 \(News-2, .*--architecture set",
    ):
        make_controller("agent:first", warehouse=warehouse, space=SPACE)


def test_missing_agent_is_not_found(warehouse):
    with pytest.raises(NotFoundError, match=r"has: none yet\. dmix has:"):
        make_controller("agent:first", warehouse=warehouse, space=SPACE)


@pytest.mark.parametrize("missing_row", [0, 2])
def test_missing_score_falls_back_to_natural_shares(missing_row):
    feedback = np.array([[-3.0], [-2.9], [-2.8]])
    controller = AgentController(agent())
    assert not np.array_equal(controller.propose(history(3, feedback)).mixture_N, SPACE.natural_N)
    feedback[missing_row] = np.nan
    proposal = controller.propose(history(3, feedback))
    assert np.array_equal(proposal.mixture_N, SPACE.natural_N)
    assert proposal.note == "a score is missing, so this step uses natural mixing"


def test_older_missing_score_does_not_stop_the_agent():
    feedback = np.array([[-3.0], [np.nan], [-2.8]])
    assert not np.array_equal(
        AgentController(agent()).propose(history(3, feedback)).mixture_N, SPACE.natural_N
    )


def test_agent_that_reads_no_scores_needs_none():
    controller = AgentController(agent(objectives=[], scales=[]))
    first = controller.propose(history(2, np.full((2, 1), np.nan))).mixture_N
    assert np.array_equal(first, controller.propose(history(2)).mixture_N)
    assert not np.array_equal(first, SPACE.natural_N)


def test_broken_agent_falls_back_to_natural_shares():
    broken = agent()
    torch.nn.init.constant_(broken.head.bias, float("nan"))
    proposal = AgentController(broken).propose(history(2))
    assert np.array_equal(proposal.mixture_N, SPACE.natural_N)
    assert "no finite mixture" in proposal.note


def test_run_without_the_agents_objective_is_refused():
    with pytest.raises(InputError, match="has no x; use the environment file of its training"):
        AgentController(agent()).propose(history(2, objectives=("y",)))


def test_other_target_supply_is_remarked_on_once_at_the_start():
    controller = AgentController(agent(target_supply=0.35), name="agent:first")
    (event,) = controller.propose(history(1)).events  # 70 target samples / (20 * 5) = 0.7
    assert event.kind == "supply"
    assert "|T|/(R*M), is 0.700 here and was 0.350 there" in event.detail
    assert "--samples-per-step to about 40" in event.detail
    assert controller.propose(history(2)).events == ()
    assert AgentController(agent(target_supply=0.7)).propose(history(1)).events == ()

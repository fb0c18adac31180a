"""Every controller through the same loop; guard rails and shadow mode in real small runs."""

import json
import os
import signal

import numpy as np
import pytest
import torch
import yaml
from tests.manifests import trajectory_set

from dmix.cli.workflows.effects.counts import probe_counts
from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.store import publish_agent
from dmix.mixing.controllers.registry import CONTROLLERS
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.objectives import load_environment, write_environment
from dmix.mixing.trajectories.store import Trajectory, publish_set, write_trajectory
from dmix.mixing.world_model.schedule_search import ScheduleSettings
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.config import describe, make_config, read_config
from dmix.training.run.launch import resume_run, start_run
from dmix.training.run.request import RunRequest
from dmix.training.scoring.environment import Scorer
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError, InterruptedRunError, NotFoundError
from dmix.warehouse_schema.files.events import read_events
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

SPECS = {
    "static:FILE": "static:{folder}/half.yaml",
    "plan[:NAME]": "plan",
    "effect[:NAME]": "effect",
    "mixmin[:NAME]": "mixmin",
    "skill-it[:NAME]": "skill-it",
    "source-share:SHARE": "source-share:0.05",
    "linear:FROM-TO": "linear:0.2-0.8",
    "cosine:FROM-TO": "cosine:0.2-0.8",
    "three-stage[:FROM-TO]": "three-stage:0.2-0.6",
    "sheared[:FILE]": "sheared",
    "agent:NAME": "agent:calm-agent",
    "untrained[:SEED]": "untrained:1",
    "replay:SET/TRAJECTORY": "replay:calm/static-0000",
    "best-of:SET": "best-of:calm",
    "regmix:SET": "regmix:calm",
    "regmix-d:SET": "regmix-d:calm",
    "regmix-kl:SET": "regmix-kl:calm",
    "schedule:SET": "schedule:calm",
    "decision-transformer:SET[:QUANTILE]": "decision-transformer:calm:0.9",
    "python:MODULE:CLASS": "python:{folder}/mine.py:Mine",
}

MINE = """
from dmix.mixing.controllers import Proposal

class Mine:
    name = "mine"

    def propose(self, history):
        return Proposal(history.space.natural_N)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steered")
    (folder / "half.yaml").write_text("source: 1\ntarget: 1\n")
    (folder / "mine.py").write_text(MINE)
    return folder


@pytest.fixture(scope="module")
def warehouse(tiny_warehouse, environment_file):
    """The tiny warehouse with a set of quiet trajectories, its feedback, and an agent of that set."""
    manifest = read_dataset_manifest(tiny_warehouse)
    space = DomainSpace.of_dataset(manifest)
    publish_set(
        tiny_warehouse,
        trajectory_set(
            space.names, space.samples_N, steps=3, set_name="calm", dataset=manifest.dataset, step_samples=16
        ),
    )
    environment = load_environment(environment_file)
    for number, share in enumerate(np.linspace(0.3, 0.5, 8)):
        name = f"static-{number:04d}"
        path = np.array([space.start_N, *[space.expand(np.array([1 - share, share]))] * 3])
        write_trajectory(
            tiny_warehouse.trajectories("calm"),
            Trajectory(trajectory_id=name, kind="static", top_k=None, mixtures_TN=path),
        )
        write_feedback(
            tiny_warehouse,
            set_name="calm",
            trajectory_id=name,
            objectives=environment.names,
            scores_TD=np.linspace([-5, -5], [-4 - share, -4 + share * (1 - share)], 4),
        )
    write_environment(tiny_warehouse.feedback("calm") / "environment.yaml", environment)
    torch.manual_seed(0)
    config = MixingAgentConfig(
        labels=space.labels,
        objectives=environment.names,
        scales=[1.0, 1.0],
        hidden_size=16,
        heads=2,
        feedforward=32,
        set_name="calm",
        target_supply=80 / 48,
    )
    publish_agent(tiny_warehouse, agent=MixingAgent(config), name="calm-agent", stage="sft", notes=[])
    probe_counts(tiny_warehouse, environment=environment_file, name="counted", progress=quiet)
    return tiny_warehouse


@pytest.fixture
def configure(warehouse, folder, tiny_model, environment_file):
    model = folder / "model.yaml"
    model.write_text(yaml.safe_dump({"architecture": "llama", "config": tiny_model.config}))

    def make(run_id, controller, **request):
        return make_config(
            warehouse,
            RunRequest(**{"steps": 3, "samples_per_step": 16, **request}),
            model=str(model),
            controller=controller,
            training=TrainingSettings(batch_size=8, learning_rate=3e-3),
            environment=environment_file,
            run_id=run_id,
        )

    return make


def events(warehouse, run_id, *kinds):
    found = read_events(warehouse.run(run_id) / "events.jsonl")
    return [e for e in found if (e["kind"] if e["event"] == "note" else e["event"]) in kinds]


def quiet(line):
    """Takes no notice of progress."""


@pytest.mark.parametrize("kind", CONTROLLERS)
def test_every_controller_steers_a_run(kind, configure, warehouse, folder, monkeypatch):
    quick = ScheduleSettings(models=2, model_steps=5, starts=1, ascent_steps=2)
    monkeypatch.setattr("dmix.mixing.controllers.schedule.ScheduleSettings", lambda: quick)
    tiny = SftSettings(hidden_size=16, feedforward=32, heads=2, epochs=2)
    monkeypatch.setattr("dmix.mixing.controllers.decision_transformer.SETTINGS", tiny)
    run_id = "steered-" + kind.partition(":")[0].removesuffix("[")
    config = configure(run_id, SPECS.get(kind, kind).format(folder=folder), guard="off")
    summary = start_run(warehouse, config, progress=quiet)
    assert summary.finished and summary.steps == 3
    assert np.isfinite(summary.feedback_TD).all()
    asked = [event["asked_N"] for event in events(warehouse, run_id, "decision")]
    assert np.sum(asked, axis=1) == pytest.approx(1)
    assert summary.planned_TN == pytest.approx(np.array(asked), abs=1e-6)
    assert not events(warehouse, run_id, "fallback")


def test_a_run_keeps_what_its_plan_promised(configure, warehouse):
    config = configure("promised", "plan:counted", guard="calm")
    assert read_dataset_manifest(warehouse).dataset == config.dataset
    assert "the plan predicts" in describe(config, read_dataset_manifest(warehouse))
    assert set(config.promise["objectives"]) == {"general", "target"}
    start_run(warehouse, config, progress=quiet)
    assert read_config(warehouse, "promised").promise == config.promise
    (started,) = events(warehouse, "promised", "run_started")
    assert (started["controller"], started["config"]["promise"]) == ("plan:counted", config.promise)


def test_guard_rails_hold_a_naive_run_and_say_so(configure, warehouse):
    config = configure("guarded", "naive", guard="calm:0.9")
    assert "guard rails from the set calm:0.9" in describe(config, read_dataset_manifest(warehouse))
    summary = start_run(warehouse, config, progress=quiet)
    target = DomainSpace.of_dataset(read_dataset_manifest(warehouse)).coarsen(summary.planned_TN)[:, 1]
    assert (target <= 0.5 + 1e-6).all()
    kinds = {(event["step"], event["kind"]) for event in events(warehouse, "guarded", "guard", "alarm")}
    assert {(1, "guard"), (2, "guard"), (3, "guard"), (1, "alarm")} <= kinds
    assert read_config(warehouse, "guarded").guard == "calm:0.9"
    (started,) = events(warehouse, "guarded", "run_started")
    assert started["controller"] == "naive"


def test_run_events_of_the_catalog_hold_alarms_and_shadows(configure, warehouse):
    config = configure("watched", "natural", guard="calm", shadow="agent:calm-agent")
    start_run(warehouse, config, progress=quiet)
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        query = (
            "select step, detail from run_events where run_id = 'watched' and kind = 'shadow' order by step"
        )
        _, rows = catalog.query(query)
    assert [step for step, _ in rows] == [1, 2, 3]
    for _, detail in rows:
        found = json.loads(detail)
        assert found["controller"] == "agent:calm-agent"
        assert sum(found["mixture"].values()) == pytest.approx(1)


def test_a_shadow_changes_nothing(configure, warehouse):
    alone = start_run(warehouse, configure("alone", "odm"), progress=quiet)
    watched = start_run(warehouse, configure("with-shadow", "odm", shadow="aioli"), progress=quiet)
    assert alone.chain == watched.chain
    np.testing.assert_array_equal(alone.feedback_TD, watched.feedback_TD)


def test_an_agent_is_guarded_by_its_own_set_unless_told_otherwise(configure):
    assert configure("a", "agent:calm-agent").guard == "calm"
    assert configure("b", "agent:calm-agent", guard="off").guard == ""
    assert configure("c", "agent:calm-agent", guard="calm:0.8").guard == "calm:0.8"
    assert configure("d", "natural").guard == ""


@pytest.mark.parametrize(
    ("request_values", "error", "message"),
    [
        ({"guard": "none-such"}, NotFoundError, "set 'none-such' is not in"),
        ({"guard": "calm:high"}, InputError, "write for example farm:0.99"),
        ({"shadow": "nautral"}, InputError, "did you mean 'natural'"),
    ],
)
def test_guard_and_shadow_are_checked_before_the_run(configure, request_values, error, message):
    with pytest.raises(error, match=message):
        configure("never", "natural", **request_values)


class Interrupt:
    """A progress function that asks the run to stop after a step."""

    def __init__(self, step):
        self.step = step

    def __call__(self, line):
        if line.startswith(f"step {self.step}/"):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("controller", ["odm", "ado", "aioli", "sheared"])
def test_controllers_that_read_losses_go_on_after_a_stop_as_if_there_had_been_none(
    configure, warehouse, controller
):
    whole = start_run(warehouse, configure(f"whole-{controller}", controller, steps=5), progress=quiet)
    cut = configure(f"cut-{controller}", controller, steps=5, shadow="linear:0.1-0.9")
    with pytest.raises(InterruptedRunError):
        start_run(warehouse, cut, progress=Interrupt(2))
    resumed = resume_run(warehouse, f"cut-{controller}", progress=quiet)
    np.testing.assert_array_equal(resumed.planned_TN, whole.planned_TN)
    assert resumed.chain == whole.chain
    # the step that was under way keeps its remark, written again by the second attempt
    shadows = events(warehouse, f"cut-{controller}", "shadow")
    assert [event["step"] for event in shadows if event["attempt"] == 2] == [3, 4, 5]


def test_the_effect_agent_measures_gradients_on_the_way_and_resumes_with_them(configure, warehouse):
    sizes = {"steps": 4, "samples_per_step": 32, "gradients_every": 2}
    config = configure("whole-gradients", "effect", **sizes)
    manifest = read_dataset_manifest(warehouse)
    assert f"before 2 of the steps, over {2 * 32 * manifest.seq_len:,} tokens" in describe(config, manifest)
    whole = start_run(warehouse, config, progress=quiet)
    notes = events(warehouse, "whole-gradients", "gradients")
    assert [note["step"] for note in notes] == [1, 3]
    first, last = (np.array(note["value"]["effect"]) for note in notes)
    assert first.any() and not np.allclose(first, last), "the model has learnt in between"
    cut = configure("cut-gradients", "effect", **sizes)
    with pytest.raises(InterruptedRunError):
        start_run(warehouse, cut, progress=Interrupt(3))
    resumed = resume_run(warehouse, "cut-gradients", progress=quiet)
    np.testing.assert_array_equal(resumed.planned_TN, whole.planned_TN)
    assert resumed.chain == whole.chain
    plain = start_run(
        warehouse, configure("no-gradients", "effect", steps=4, samples_per_step=32), progress=quiet
    )
    np.testing.assert_array_equal(plain.planned_TN[:2], whole.planned_TN[:2])
    np.testing.assert_array_equal(plain.feedback_TD[:3], whole.feedback_TD[:3])
    assert not np.array_equal(plain.planned_TN, whole.planned_TN), "step 3 heard of the change"


def test_gradients_are_refused_where_nobody_reads_them(configure):
    with pytest.raises(InputError, match="--agent effect"):
        configure("never", "natural", gradients_every=2)
    with pytest.raises(InputError, match="0 or more"):
        configure("never", "effect", gradients_every=-1)


def test_a_step_too_short_for_gradients_says_what_helps(configure, warehouse):
    config = configure("short", "effect", steps=2, samples_per_step=8, gradients_every=1)
    with pytest.raises(InputError, match="--samples-per-step"):
        start_run(warehouse, config, progress=quiet)


def test_a_missing_score_is_a_run_event(configure, warehouse, monkeypatch):
    scores = Scorer.scores
    calls = []

    def failing(self, *arguments, **values):
        calls.append(1)
        found = scores(self, *arguments, **values)
        return np.where(np.arange(len(found)) == 0, np.nan, found) if len(calls) == 2 else found

    monkeypatch.setattr(Scorer, "scores", failing)
    config = configure("blind", "agent:calm-agent", guard="off")
    start_run(warehouse, config, progress=quiet)
    (event,) = events(warehouse, "blind", "fallback")
    assert event["step"] == 2
    assert event["detail"] == "a score is missing, so this step uses natural mixing"

"""What a run that is named again finds in its events."""

import pytest

from dmix.cli.workflows.runs.repeated import (
    changed_settings,
    has_started,
    is_finished,
    refuse_a_third_failure,
)
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.config import RunConfig, config_to_yaml
from dmix.warehouse_schema.errors import InputError, TrainingError
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import Warehouse

FAILED = ("run_failed", 3, "loss is not finite")


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path / "w")


def write(warehouse, *ends):
    """An attempt for each end: its event, step and detail."""
    for attempt, (event, step, detail, *more) in enumerate(ends, start=1):
        log = EventLog(warehouse.run("r") / "events.jsonl", run_id="r", attempt=attempt)
        log.write("run_started", config={}, space=[], kind="baseline", controller="natural")
        log.write("note", step=step, kind="guard", detail="floor raised")
        log.write(event, step=step, detail=detail, **dict(more))


def test_a_run_has_started_with_its_first_event(warehouse):
    assert not has_started(warehouse, "r")
    write(warehouse, FAILED)
    assert has_started(warehouse, "r")


def test_a_run_is_finished_when_its_model_is_there_too(warehouse):
    write(warehouse, FAILED, ("run_done", 5, ""))
    assert not is_finished(warehouse, "r")
    (warehouse.run("r") / "model").mkdir()
    assert is_finished(warehouse, "r")


@pytest.mark.parametrize("line", [b"3\n", b"\n", b"[]\n", b"{}\n"])
def test_a_run_whose_last_event_is_damaged_is_not_finished(warehouse, line):
    """So that a resume goes on to repair it."""
    write(warehouse, ("run_done", 5, ""))
    (warehouse.run("r") / "model").mkdir()
    with (warehouse.run("r") / "events.jsonl").open("ab") as log:
        log.write(line)
    assert not is_finished(warehouse, "r")


def test_two_equal_failures_refuse_a_third_attempt(warehouse):
    write(warehouse, FAILED, FAILED)
    with pytest.raises(TrainingError, match=r"failed twice at step 3: loss is not finite.*--back"):
        refuse_a_third_failure(warehouse, "r")


@pytest.mark.parametrize(
    "ends",
    [
        [FAILED],
        [FAILED, ("run_failed", 4, FAILED[2])],
        [FAILED, ("run_failed", 3, "memory ran out")],
        [FAILED, FAILED, ("run_done", 5, "")],
        [(*FAILED, ("rank_lost", True)), (*FAILED, ("rank_lost", True))],
    ],
)
def test_other_ends_may_be_tried_again(warehouse, ends):
    write(warehouse, *ends)
    refuse_a_third_failure(warehouse, "r")


@pytest.mark.parametrize(("end", "hint"), [(FAILED, "add --resume"), (("run_done", 5, ""), "another --run")])
def test_resume_is_offered_for_other_steps_only_while_it_would_take_them(warehouse, end, hint):
    config = RunConfig(
        run_id="r", kind="baseline", dataset="d0", model="m", controller="natural", steps=5, step_samples=8,
        batch_size=8, exhaustion="stop", max_passes=4, seed=0, training=TrainingSettings(),
    )  # fmt: skip
    write(warehouse, end)
    (warehouse.run("r") / "model").mkdir()
    (warehouse.run("r") / "config.yaml").write_text(config_to_yaml(config, warehouse))
    with pytest.raises(InputError, match=rf"steps is 9, but run r started with 5;.*{hint}"):
        changed_settings({"steps": 9}, warehouse, "r", may_change=False)

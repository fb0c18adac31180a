import json
import math

import numpy as np
import pytest

from dmix.training.run.summary import summarise
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.events import EventLog

SPACE = [["source", "A"], ["target", "A"]]


def write_step(log, step, *, score, source=4, chain="c"):
    log.write("decision", step=step, asked_N=[0.5, 0.5], planned_N=[0.5, 0.5], remarks=[], decided_to=step)
    log.write(
        "step_done",
        step=step,
        delivered_samples_N=[source, 8 - source],
        delivered_tokens_N=[source * 10, (8 - source) * 10],
        loss=3.0 / step,
        chain=f"{chain}{step}",
        seconds=2.0,
    )
    log.write("feedback", step=step, scores={"o": score})


def start(path, attempt, *, resumed_from_step=0):
    log = EventLog(path, run_id="r", attempt=attempt)
    log.write(
        "run_started",
        kind="guided",
        controller="agent:a",
        dataset="d",
        config={},
        space=SPACE,
        resumed_from_step=resumed_from_step,
    )
    return log


def test_a_run_that_has_only_started_has_no_steps(tmp_path):
    start(tmp_path / "events.jsonl", 1)
    summary = summarise(tmp_path / "events.jsonl")
    assert (summary.steps, summary.tokens, summary.source_tokens, summary.finished) == (0, 0, 0, False)
    assert math.isnan(summary.loss) and summary.feedback_TD.shape == (1, 0) and summary.chain == ""


def test_the_last_attempt_of_each_step_counts(tmp_path):
    path = tmp_path / "events.jsonl"
    log = start(path, 1)
    log.write("feedback", step=0, scores={"o": -4.0})
    for step in (1, 2, 3):
        write_step(log, step, score=-step, chain="old")
    log = start(path, 2, resumed_from_step=1)
    write_step(log, 2, score=-0.5, source=2, chain="new")
    log.write("run_done", step=2, detail="all 2 steps are done")
    summary = summarise(path)
    assert (summary.steps, summary.finished, summary.chain) == (2, True, "new2")
    assert summary.ending == "all 2 steps are done"
    assert summary.feedback_TD.tolist() == [[-4.0], [-1.0], [-0.5]]
    assert summary.samples_N.tolist() == [6, 10] and summary.tokens == 160
    assert summary.source_tokens == 60 and summary.seconds == 4.0
    np.testing.assert_array_equal(summary.planned_TN, [[0.5, 0.5], [0.5, 0.5]])
    shown = summary.to_json()
    assert shown["scores_before"] == {"o": -4.0} and shown["scores_after"] == {"o": -0.5}


@pytest.mark.parametrize("lacking", ["kind", "controller", "space"])
def test_a_start_that_lacks_what_the_summary_says_is_named_by_its_line(tmp_path, lacking):
    path = tmp_path / "events.jsonl"
    start(path, 1)
    event = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in event.items() if name != lacking}) + "\n")
    with pytest.raises(InputError, match="line 1 is not an event"):
        summarise(path)


def test_a_file_without_a_start_is_no_run(tmp_path):
    path = tmp_path / "events.jsonl"
    EventLog(path, run_id="r").write("note", step=0)
    with pytest.raises(InputError, match="does not say that the run started"):
        summarise(path)

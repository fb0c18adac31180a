"""One SIGKILL as each step of a commit is about to be taken; `make soak` kills on Spark, and at random."""

import json
import signal

import pytest
from tests.etl.apart import run_apart
from tests.etl.killed_job import STEPS


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What `tests.etl.forked_kills` saw, by step."""
    folder = tmp_path_factory.mktemp("kills")
    run_apart("tests.etl.forked_kills", str(folder))
    return json.loads((folder / "outcomes.json").read_text())


@pytest.mark.parametrize("step", STEPS)
def test_job_killed_at_a_commit_step_ends_as_one_that_nothing_disturbed(outcomes, step):
    outcome = outcomes[step]
    assert outcome["killed_by"] == signal.SIGKILL
    assert outcome["problems_after_death"] == []
    assert outcome["after_second_run"] == outcome["unbroken"]
    assert outcome["unbroken"]["problems"] == outcome["unbroken"]["garbage"] == []
    assert outcome["unbroken"]["tokens"] > 10_000

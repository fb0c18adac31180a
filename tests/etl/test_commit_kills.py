"""One SIGKILL as each step of a commit is about to be taken; `make soak` kills on Spark, and at random."""

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.etl.killed_job import STEPS
from tests.soak import ROOT


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What `tests.etl.forked_kills` saw, by step."""
    folder = tmp_path_factory.mktemp("kills")
    command = [sys.executable, "-m", "tests.etl.forked_kills", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "outcomes.json").read_text())


@pytest.mark.parametrize("step", STEPS)
def test_job_killed_at_a_commit_step_ends_as_one_that_nothing_disturbed(outcomes, step):
    outcome = outcomes[step]
    assert outcome["killed_by"] == signal.SIGKILL
    assert outcome["problems_after_death"] == []
    assert outcome["after_second_run"] == outcome["unbroken"]
    assert outcome["unbroken"]["problems"] == outcome["unbroken"]["garbage"] == []
    assert outcome["unbroken"]["tokens"] > 10_000

"""A disk that is really full, where a process may mount one of its own."""

import json
import os
import re
import subprocess
import sys

import pytest
from tests.soak import ROOT


def test_job_on_a_disk_that_is_full_again_and_again_names_it_and_ends_as_on_an_ample_one(tmp_path):
    alone = ["unshare", "--map-root-user", "--mount"]
    try:
        mountable = subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mountable = False
    if not mountable:
        pytest.skip("no name space of its own for mounts here")
    done = subprocess.run(
        [*alone, sys.executable, "-m", "tests.etl.full_disk", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads((tmp_path / "outcome.json").read_text())
    assert len(outcome["failures"]) > 3
    for kind, message in outcome["failures"]:
        assert kind == "StorageError"
        assert re.search(r"cannot write .*: .*[Nn]o space left.*; free some space .*same command", message)
    assert outcome["same"]

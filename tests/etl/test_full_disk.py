"""A disk that is really full, where a process may mount one of its own."""

import json
import re
import subprocess

import pytest
from tests.etl.apart import run_apart


def test_job_on_a_disk_that_is_full_again_and_again_names_it_and_ends_as_on_an_ample_one(tmp_path):
    alone = ["unshare", "--map-root-user", "--mount"]
    try:
        mountable = subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mountable = False
    if not mountable:
        pytest.skip("no name space of its own for mounts here")
    run_apart("tests.etl.full_disk", str(tmp_path), under=alone)
    outcome = json.loads((tmp_path / "outcome.json").read_text())
    assert len(outcome["failures"]) > 3
    for kind, message in outcome["failures"]:
        assert kind == "StorageError"
        assert re.search(r"cannot write .*: .*[Nn]o space left.*; free some space .*same command", message)
    assert outcome["same"]

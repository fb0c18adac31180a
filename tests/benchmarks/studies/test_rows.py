"""Which rows the studies read."""

import pytest
from benchmarks.provenance import RESULTS
from benchmarks.studies import rows

SETTINGS = RESULTS.parent / "quality"


@pytest.mark.parametrize("left, counted", [({"plan": 3}, False), ({}, True)])
def test_an_unfinished_confirmation_is_not_looked_at(left, counted, tmp_path, monkeypatch):
    (tmp_path / "math").symlink_to(RESULTS / "quality" / "round-3" / "math")
    monkeypatch.setattr(rows, "runs_left", lambda stored, protocol: left)
    (setting,) = rows.third_round(SETTINGS, tmp_path)
    assert {"design", "tilt"} <= {run.part for run in setting.runs}
    assert ("cell" in {run.part for run in setting.runs}) == counted

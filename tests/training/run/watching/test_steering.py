"""Texts of a run's configuration that become its controller."""

from pathlib import Path

import pytest

from dmix.training.run.watching.steering import absolute_spec


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("static:a.yaml", "static:{here}/a.yaml"),
        ("sheared:/b/a.yaml", "sheared:/b/a.yaml"),
        ("sheared", "sheared"),
        ("agent:./steersman", "agent:{here}/steersman"),
        ("agent:steersman", "agent:steersman"),
        ("python:mine.py:Mine:x:y", "python:{here}/mine.py:Mine:x:y"),
        ("python:my.module:Mine", "python:my.module:Mine"),
        ("replay:farm/static-0001", "replay:farm/static-0001"),
        ("", ""),
    ],
)
def test_paths_are_made_absolute_and_names_are_left(spec, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_spec(spec) == wanted.format(here=Path.cwd())

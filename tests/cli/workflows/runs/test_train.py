"""What a run is steered by, what counts as given, and what is refused before anything is read."""

import pytest

from dmix.cli.workflows.runs.train import _not_default, train_run
from dmix.training.run.request import RunRequest
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


def test_only_what_differs_from_the_defaults_counts_as_given():
    request = RunRequest(steps=7)
    assert _not_default(request, model="m", agent=None) == {"model": "m", "steps": 7}
    assert _not_default(RunRequest(), model=None) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"resume": True}, "--resume needs a run.*--run"),
        ({"run_id": "r", "back": True}, "--back needs --resume"),
        ({}, "--model"),
        ({"model": "m"}, "--agent or --controller"),
        ({"model": "m", "agent": "a"}, "agent needs .*--environment"),
    ],
)
def test_contradictions_are_refused_before_anything_is_read(tmp_path, given, said):
    with pytest.raises(InputError, match=said):
        train_run(Warehouse.at(tmp_path), request=RunRequest(), progress=lambda line: None, **given)

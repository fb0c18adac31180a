"""What a run is steered by, what counts as given, and what is refused before anything is read."""

import pytest

from dmix.cli.workflows.runs.train import _not_default, controller_spec, train_run
from dmix.training.run.request import RunRequest
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.mark.parametrize(
    ("agent", "controller", "spec"),
    [
        ("mine", None, "agent:mine"),
        ("effect", None, "effect"),
        ("effect:math", None, "effect:math"),
        (None, "odm", "odm"),
    ],
)
def test_an_agent_is_a_controller_and_the_effect_agent_has_its_own_name(agent, controller, spec):
    assert controller_spec(agent, controller) == spec


@pytest.mark.parametrize(
    ("agent", "controller", "said"), [("a", "b", "both"), (None, None, "--agent or --controller")]
)
def test_exactly_one_of_agent_and_controller_is_given(agent, controller, said):
    with pytest.raises(InputError, match=said):
        controller_spec(agent, controller)


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
        ({"model": "m", "agent": "a"}, "an agent needs .*--environment"),
    ],
)
def test_contradictions_are_refused_before_anything_is_read(tmp_path, given, said):
    with pytest.raises(InputError, match=said):
        train_run(Warehouse.at(tmp_path), request=RunRequest(), progress=lambda line: None, **given)

"""Names of effects, and the answer to a question that was asked before."""

from types import SimpleNamespace

import pytest

from dmix.cli.workflows.effects.names import effects_name, stored_already
from dmix.mixing.effects import store
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json

MANIFEST = SimpleNamespace(dataset="d")


def test_a_given_name_wins_and_another_one_follows_the_question():
    assert effects_name("counts", MANIFEST, "e", "mine") == "mine"
    found = effects_name("counts", MANIFEST, "e", None)
    assert found.startswith("counts-") and found == effects_name("counts", MANIFEST, "e", None)
    others = [
        effects_name("counts", SimpleNamespace(dataset="x"), "e", None),
        effects_name("counts", MANIFEST, "f", None),
    ]
    assert len({found, *others}) == 3


def test_a_name_that_cannot_be_a_folder_is_refused():
    with pytest.raises(InputError, match="cannot be a folder"):
        effects_name("counts", MANIFEST, "e", "a/b")


@pytest.fixture
def ask(tmp_path, monkeypatch):
    warehouse = Warehouse.at(tmp_path)
    answered = SimpleNamespace(
        effects=SimpleNamespace(dataset="d", environment="e", estimator="counts", objectives=("web",))
    )
    monkeypatch.setattr(store, "read_effects", lambda *_: answered)

    def question(**changes):
        given = {"dataset": "d", "environment": "e", "estimator": "counts"} | changes
        return stored_already(warehouse, "c", progress=lambda line: None, **given)

    question.publish = lambda: publish_json(warehouse.effects("c") / store.MANIFEST, {})
    question.answered = answered
    return question


def test_the_same_question_finds_its_answer(ask):
    assert ask() is None
    ask.publish()
    assert ask() is ask.answered


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": "x"}, "inputs: dataset d;"),
        ({"environment": "x"}, "inputs: the objectives web;"),
        ({"estimator": "gradient", "dataset": "x"}, "inputs: the estimator counts, dataset d;"),
    ],
)
def test_another_question_under_the_same_name_is_refused_with_what_differs(ask, changes, said):
    ask.publish()
    with pytest.raises(InputError, match=said):
        ask(**changes)

"""What `dmix eval` refuses, plans and tells; `test_objective_tasks.py` scores real models."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dmix.cli.workflows.runs.evaluate import _plan_result, _scores_result, evaluate_models
from dmix.training.evaluation.settings import EvaluationSettings
from dmix.training.evaluation.stored import Evaluation, Score
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tasks": ["t"]}, "either --run ID or --model"),
        ({"run_id": "r", "model": "m", "tasks": ["t"]}, "either --run ID or --model"),
        ({"model": "m", "steps": ["1"], "tasks": ["t"]}, "--step needs a run"),
        ({"model": "m"}, "no task to evaluate on"),
        ({"model": "m", "environment": Path("e.yaml")}, "--environment needs the tokenizer of a run"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(given, named):
    with pytest.raises(InputError, match=named):
        evaluate_models(None, settings=EvaluationSettings(), progress=str, **given)


def test_a_plan_names_stored_scores_and_limits_items():
    tasks = {"letters": SimpleNamespace(num_items=9), "mmlu": None}
    known = {(0, "mmlu"): None}
    for limit, items in ((None, 9), (4, 4), (20, 9)):
        facts = _plan_result([(0, "m")], tasks, known, limit=limit).facts
        assert [(row["task"], row["items"], row["stored"]) for row in facts] == [
            ("letters", items, False),
            ("mmlu", None, True),
        ]


def evaluation(step, *item_scores):
    score = Score(task="j/maths", metric="score", value=item_scores[0], stderr=None, items=len(item_scores))
    return Evaluation(step, "j/maths", (score,), stored=False, item_scores=item_scores)


MATHS = SimpleNamespace(name="j/maths", role="target", sha256="1" * 64, scale=2.0)


def test_the_change_is_that_of_the_last_step_from_the_first():
    found = [evaluation(0, -3.0, -3.0), evaluation(2, -9.0, -9.0), evaluation(4, -2.0, -1.9)]
    result = _scores_result(found, [MATHS])
    (row,) = result.df(1).to_dict("records")
    assert (row["step 0"], row["step 4"], row["verdict"]) == (-3.0, -1.95, "learned")
    assert (result.facts[2]["verdict"], result.facts[2]["beyond_noise"]) == ("learned", True)
    assert any("Unchanged: " in block for block in result.blocks if isinstance(block, str))
    assert [fact["change"] for fact in result.facts] == [None, None, pytest.approx(1.05)]
    assert {fact["role"] for fact in result.facts} == {"target"}


def test_one_step_has_no_change():
    result = _scores_result([evaluation(4, -2.0)], [MATHS])
    assert len(result.tables) == 1 and "--step all" in repr(result)
    assert "--step all" not in repr(_scores_result([evaluation(4, -2.0)], []))

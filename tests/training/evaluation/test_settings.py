from pathlib import Path

import pytest

from dmix.training.evaluation import settings as module
from dmix.training.evaluation.settings import GROUPS, EvaluationSettings, check_tasks, task_names
from dmix.warehouse_schema.errors import InputError, MissingDependencyError

ALLOWED = EvaluationSettings(allow_code=True)


def installed(monkeypatch, *packages):
    monkeypatch.setattr(module.util, "find_spec", lambda name: object() if name in packages else None)


def test_groups_of_tasks_are_the_papers():
    assert len(task_names(("general",))) == 8
    assert task_names(("piqa", "math", "gsm8k", "code"))[:2] == ("piqa", "gsm8k")
    assert task_names(("code",)) == ("humaneval", "mbpp")


def test_the_harness_has_every_task_of_the_groups():
    tasks = Path(pytest.importorskip("lm_eval").__file__).parent / "tasks"
    lines = {
        line
        for folder in (
            "arc",
            "benchmarks",
            "gsm8k",
            "hellaswag",
            "hendrycks_math",
            "logiqa",
            "mathqa",
            "mmlu/default",
            "openbookqa",
            "piqa",
            "sciq",
            "winogrande",
        )
        for path in (tasks / folder).glob("*.yaml")
        for line in path.read_text().splitlines()
    }
    for name in (*GROUPS["general"], *GROUPS["math"]):
        assert {f"task: {name}", f"group: {name}"} & lines, name


def test_settings_refuse_what_makes_no_sense():
    with pytest.raises(InputError, match="--limit is 0"):
        EvaluationSettings(limit=0)
    with pytest.raises(InputError, match="--few-shot is -1"):
        EvaluationSettings(few_shot=-1)


@pytest.mark.parametrize(("names", "items"), [(["piqa"], False), ([], True), (["piqa", "mbpp"], False)])
def test_a_missing_harness_is_named_with_its_extra(monkeypatch, names, items):
    installed(monkeypatch, "evalplus")
    with pytest.raises(MissingDependencyError, match=r"constraints.txt -e '.\[eval\]'.*'dmix\[eval\]'"):
        check_tasks(names, items=items, settings=ALLOWED)


def test_evalplus_is_named_where_it_is_missing_and_asked_for_only_there(monkeypatch):
    installed(monkeypatch, "lm_eval")
    check_tasks(["piqa"], items=True, settings=EvaluationSettings())
    with pytest.raises(MissingDependencyError, match=r"-e '.\[code\]'"):
        check_tasks(["piqa", "mbpp"], items=False, settings=ALLOWED)


def test_programs_run_only_if_that_is_allowed(monkeypatch):
    installed(monkeypatch, "evalplus")
    check_tasks(["mbpp"], items=False, settings=ALLOWED)
    with pytest.raises(InputError, match="add --allow-code"):
        check_tasks(["mbpp"], items=False, settings=EvaluationSettings())


@pytest.mark.parametrize("flag", ["limit", "few_shot"])
def test_settings_that_evalplus_would_not_see_are_refused(monkeypatch, flag):
    installed(monkeypatch, "evalplus")
    with pytest.raises(InputError, match=f"--{flag.replace('_', '-')} has no effect on humaneval"):
        check_tasks(["humaneval"], items=False, settings=EvaluationSettings(allow_code=True, **{flag: 3}))

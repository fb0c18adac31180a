import json

import pytest

from dmix.cli.main import run


@pytest.fixture
def items(tmp_path):
    path = tmp_path / "letters.jsonl"
    path.write_text(json.dumps({"question": "a", "choices": ["b", "c"], "label": 0}) + "\n")
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --run ID or --model"),
        (["--run", "a", "--model", "b", "--task", "piqa"], "either --run ID or --model"),
        (["--model", "m", "--step", "2", "--task", "piqa"], "--step needs a run"),
        (["--run", "a"], "give --task NAME, --items FILE or --environment FILE"),
        (["--model", "m", "--environment", "e.yaml"], "give the run with --run"),
        (["--run", "a", "--task", "piqa", "--limit", "0"], "--limit is 0"),
    ],
)
def test_bad_usage_is_refused(capsys, arguments, message):
    assert run(["eval", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_dry_run_lists_models_and_tasks(capsys, items, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    arguments = [
        "eval",
        "--model",
        str(model),
        "--items",
        str(items),
        "--task",
        "math",
        "--dry-run",
        "--json",
    ]
    assert run(arguments) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [(row["task"], row["items"]) for row in plan][:2] == [("letters", 1), ("gsm8k", None)]
    assert len(plan) == 5


def test_a_run_that_is_not_there_is_named(capsys, items, tmp_path):
    arguments = ["eval", "--run", "none", "--items", str(items), "--warehouse", str(tmp_path)]
    assert run(arguments) == 2
    assert "run 'none' is not in" in capsys.readouterr().err

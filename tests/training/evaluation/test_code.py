import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from dmix.training.evaluation import code
from dmix.training.evaluation.code import code_scores, pass_rates
from dmix.warehouse_schema.errors import DmixError

RESULTS = {
    "eval": {
        "HumanEval/0": [{"base_status": "pass", "plus_status": "pass"}],
        "HumanEval/1": [{"base_status": "pass", "plus_status": "fail"}],
        "HumanEval/2": [{"base_status": "fail", "plus_status": "pass"}],
        "HumanEval/3": [{"base_status": "fail", "plus_status": "fail"}],
    }
}
MODEL = SimpleNamespace(save_pretrained=lambda folder: None)


def test_pass_rates_worked_by_hand():
    base, plus = pass_rates("humaneval", RESULTS)
    assert (base.task, base.value, base.items) == ("humaneval", 0.5, 4)
    assert base.stderr == pytest.approx((0.25 / 3) ** 0.5)
    assert (plus.task, plus.value) == ("humaneval_plus", 0.25)  # an added test counts with the old ones


def test_what_evalplus_writes_is_read(monkeypatch):
    def evalplus(command, **_):
        results = Path(command[command.index("--root") + 1]) / "humaneval" / "model_eval_results.json"
        results.parent.mkdir(parents=True)
        results.write_text(json.dumps(RESULTS))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(code.subprocess, "run", evalplus)
    scores = code_scores("humaneval", MODEL, MODEL)
    assert [score.value for score in scores] == [0.5, 0.25]


def test_its_failure_is_reported_with_its_last_line(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nURLError: unreachable\n")
    monkeypatch.setattr(code.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DmixError, match=r"URLError: unreachable.*MBPP_OVERRIDE_PATH"):
        code_scores("mbpp", MODEL, MODEL)

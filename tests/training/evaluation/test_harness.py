import pytest

from dmix.training.evaluation.harness import Harness, scores_of
from dmix.training.evaluation.item_tasks import ItemTask
from dmix.training.evaluation.settings import EvaluationSettings
from dmix.training.evaluation.stored import Score
from dmix.warehouse_schema.errors import InputError, NotFoundError


def test_numbers_of_the_harness_become_scores():
    results = {
        "results": {
            "sums": {"alias": "sums", "acc,none": 0.5, "acc_stderr,none": 0.1, "sample_len": 4},
            "gsm8k": {"exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": "N/A"},
        },
        "n-samples": {"sums": {"original": 9, "effective": 4}},
    }
    assert scores_of(results) == [
        Score(task="sums", metric="acc", value=0.5, stderr=0.1, items=4),
        Score(task="gsm8k", metric="exact_match,strict-match", value=0.25, stderr=None, items=None),
    ]


def test_a_hub_out_of_reach_is_named_with_ways_out(monkeypatch):
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is the extra 'eval'")

    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach 'allenai/sciq' on the Hub\nlonger story")

    monkeypatch.setattr("lm_eval.evaluator.simple_evaluate", unreachable)
    monkeypatch.setattr("lm_eval.models.huggingface.HFLM", lambda **_: None)
    with pytest.raises(
        NotFoundError, match=r"items of task 'sciq' .* \(Couldn't reach .*\); connect .* --items"
    ):
        Harness([]).scores("sciq", None, None, settings=EvaluationSettings())


def test_names_that_come_twice_are_refused():
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is the extra 'eval'")
    task = ItemTask("sums", "qa", (), "0")
    with pytest.raises(InputError, match="two tasks have the same name"):
        Harness([], [task, task])

import gzip
import json

import pytest

from dmix.training.evaluation.item_tasks import answer_results, read_item_task
from dmix.warehouse_schema.errors import InputError, NotFoundError

CHOICE = {"id": "a", "question": "2 + 2?\nA. 3\nB. 4", "answer": "B. 4", "choices": ["3", "4"], "label": 1}


def written(tmp_path, *records, name="sums.jsonl.gz"):
    path = tmp_path / name
    content = "".join(json.dumps(record) + "\n" for record in records)
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


def test_a_choice_keeps_question_choices_and_label(tmp_path):
    task = read_item_task(written(tmp_path, CHOICE), kind="multiple_choice")
    assert (task.name, len(task.sha256)) == ("sums", 64)
    assert task.records == ({"question": CHOICE["question"], "choices": ["3", "4"], "label": 1},)
    assert task.config(few_shot=2)["num_fewshot"] == 2


def test_an_answer_needs_no_choices(tmp_path):
    path = written(tmp_path, {"question": "2 + 2?", "answer": "4"}, name="sums.jsonl")
    task = read_item_task(path, kind="qa")
    assert task.records == ({"question": "2 + 2?", "answer": "4"},)
    assert task.config()["output_type"] == "loglikelihood"


def test_metrics_of_an_answer():
    assert answer_results({}, [(-2.5, True)]) == {"acc": 1.0, "log_likelihood": -2.5}


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"choices": ["4"]}, "multiple_choice", "line 1: 'choices' is"),
        ({"label": 2}, "multiple_choice", "'label' is 2, expected the index of one of 2"),
        ({"question": " "}, "multiple_choice", "'question' is ' ', expected text"),
        ({"answer": None}, "qa", "'answer' is None"),
        ({}, "essay", "kind is 'essay'"),
    ],
)
def test_bad_items_are_refused_with_their_line(tmp_path, change, kind, message):
    with pytest.raises(InputError, match=message):
        read_item_task(written(tmp_path, {**CHOICE, **change}), kind=kind)


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"):
        read_item_task(tmp_path / "none.jsonl", kind="qa")
    with pytest.raises(InputError, match="has no items"):
        read_item_task(written(tmp_path), kind="qa")


@pytest.mark.parametrize("kind", ["qa", "multiple_choice"])
def test_continuation_items_are_sent_to_the_environment(tmp_path, kind):
    path = written(tmp_path, {"id": "1", "text": "A text whose second half is scored."}, name="c.jsonl")
    with pytest.raises(InputError, match=r"continuation.*--environment"):
        read_item_task(path, kind=kind)


@pytest.mark.parametrize("answer", ["[1, 2]", "['a']", "[" * 300 + "]" * 300, "{{question}}", "42"])
def test_the_harness_reads_an_answer_as_the_text_that_it_is(tmp_path, answer):
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is the extra 'eval'")
    from lm_eval.api.task import ConfigurableTask

    path = written(tmp_path, {"question": answer, "answer": answer}, name="sums.jsonl")
    task = ConfigurableTask(config=read_item_task(path, kind="qa").config())
    (record,) = task.test_docs()
    assert (task.doc_to_text(record), task.doc_to_target(record)) == (answer, answer)


def test_half_a_surrogate_pair_is_named_by_line(tmp_path):
    path = written(tmp_path, {"question": "q", "answer": "\ud800"})
    with pytest.raises(InputError, match=r"line 1 .*surrogates not allowed"):
        read_item_task(path, kind="qa")

"""Evaluation items of a file as a task of lm-evaluation-harness, for machines without a network.

A record is `{"id", "question", "answer"}`, for multiple choice with `choices` and `label`, the
index of the right one: the files that an environment names serve here too.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmix.mixing.trajectories.objectives import read_records
from dmix.training.evaluation.settings import KINDS
from dmix.warehouse_schema.errors import InputError

Record = dict[str, Any]


@dataclass(frozen=True)
class ItemTask:
    """One file of items as a task.

    Attributes:
        name: The file's name without its endings.
        kind: One of `KINDS`.
        records: What the harness reads: question with choices and label, or with answer.
        sha256: Digest of the file, which tells whether stored scores are of these items.
    """

    name: str
    kind: str
    records: tuple[Record, ...]
    sha256: str

    @property
    def num_items(self) -> int:
        """Number of its items."""
        return len(self.records)

    def config(self, *, few_shot: int = 0) -> dict[str, Any]:
        """The task in the harness's own terms; its data are made of `records`, not fetched."""
        common = {
            "task": self.name,
            "custom_dataset": lambda **_: _dataset(self.records),
            "test_split": "test",
            "fewshot_split": "test",
            "num_fewshot": few_shot,
            "metadata": {"version": 1.0},
        }
        return {**common, **(_CHOICE if self.kind == "multiple_choice" else _ANSWER)}


def read_item_task(path: Path, *, kind: str) -> ItemTask:
    """The task of an item file (JSON Lines, plain or .gz).

    Raises:
        NotFoundError: If the file does not exist.
        InputError: If a record lacks what its kind needs, with its line, or there is none.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    checked = _choice_record if kind == "multiple_choice" else _answer_record
    records = tuple(checked(record, f"{path} line {line}") for line, record in read_records(path))
    if not records:
        raise InputError(f"{path} has no items; give a file with one JSON object per line")
    name = path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")
    return ItemTask(name, kind, records, hashlib.sha256(path.read_bytes()).hexdigest())


def answer_results(record: Record, results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Metrics of one answer: its log-probability in nats, and whether greedy decoding gives it."""
    ((log_likelihood, is_greedy),) = results
    return {"acc": float(is_greedy), "log_likelihood": log_likelihood}


_MEAN: dict[str, Any] = {"aggregation": "mean", "higher_is_better": True}
_CHOICE: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}\nAnswer:",
    "doc_to_choice": "choices",
    "doc_to_target": "label",
    "metric_list": [{"metric": "acc", **_MEAN}, {"metric": "acc_norm", **_MEAN}],
}
_ANSWER: dict[str, Any] = {
    "output_type": "loglikelihood",
    # names of columns: of a template, the harness makes a Python list where the text looks like one
    "doc_to_text": "question",
    "doc_to_target": "answer",
    "target_delimiter": "\n",
    "process_results": answer_results,
    "metric_list": [{"metric": "acc", **_MEAN}, {"metric": "log_likelihood", **_MEAN}],
}


def _dataset(records: Sequence[Record]) -> Any:
    from datasets import Dataset, DatasetDict

    return DatasetDict(test=Dataset.from_list(list(records)))


def _choice_record(record: Record, where: str) -> Record:
    _text(record, "question", where)
    choices, label = record.get("choices"), record.get("label")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) for c in choices):
        raise InputError(f"{where}: 'choices' is {choices!r}, expected a list of two texts or more")
    if any(not choice.strip() for choice in choices):
        raise InputError(
            f"{where}: choice {choices.index(next(c for c in choices if not c.strip()))} is empty;"
            " give it a text or remove the record"
        )
    if not isinstance(label, int) or not 0 <= label < len(choices):
        raise InputError(
            f"{where}: 'label' is {label!r}, expected the index of one of {len(choices)} choices"
        )
    return {"question": _text(record, "question", where), "choices": choices, "label": label}


def _answer_record(record: Record, where: str) -> Record:
    return {name: _text(record, name, where) for name in ("question", "answer")}


def _text(record: Record, name: str, where: str) -> str:
    value = record.get(name)
    if value is None and isinstance(record.get("text"), str):
        raise InputError(
            f"{where}: this item has 'text' but no {name!r}, so its kind is continuation; list its file "
            "in an environment file, and use --environment instead of --items"
        )
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {name!r} is {value!r}, expected text; correct the record or --kind")
    return value

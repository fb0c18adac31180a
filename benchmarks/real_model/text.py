"""The text of the way: domains named by origin, and held-out documents as objectives.

Objectives are continuations of documents that no training text holds. Those of `feedback.yaml` steer;
those of `judge.yaml` are other documents of the same origins, and only judge.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

LEAST_CHARACTERS, ITEM_CHARACTERS = 200, 500

# objective: (role, folder, origin)
OBJECTIVES = {
    "math": {
        "books": ("general", "source", "standard_ebooks"),
        "reference": ("general", "source", "world_factbook"),
        "word_problems": ("target", "target_math", "gsm8k_train"),
        "textbooks": ("target", "target_math", "stacks_project"),
    },
    "code": {
        "books": ("general", "source", "standard_ebooks"),
        "reference": ("general", "source", "world_factbook"),
        "python": ("target", "target_code", "thealgorithms_python"),
        "java": ("target", "target_code", "thealgorithms_java"),
    },
}
SMALL_POOL = {
    "source": ("standard_ebooks", "world_factbook", "medquad", "movie_reviews"),
    "target_math": ("gsm8k_train", "stacks_project", "deepmind_mathematics"),
    "target_code": ("thealgorithms_python", "thealgorithms_java", "sympy"),
}


@dataclass(frozen=True, kw_only=True)
class TextSize:
    """How much text there is.

    Attributes:
        documents: Most documents of an origin.
        feedback_items: Items of an objective that steer.
        judge_items: Items of an objective that judge.
        every_origin: Take all origins, not the small pool.
    """

    documents: int
    feedback_items: int
    judge_items: int
    every_origin: bool


def write_text(data: Path, folder: Path, *, target: str, size: TextSize) -> dict[str, Any]:
    """Writes `source/`, `target/`, `feedback.yaml` and `judge.yaml`; returns what was taken, by origin."""
    objectives = OBJECTIVES[target]
    held_out = {origin: name for name, (_, _, origin) in objectives.items()}
    taken: dict[str, int] = {}
    for field, of in (("source", "source"), ("target", f"target_{target}")):
        out = folder / field
        out.mkdir(parents=True, exist_ok=True)
        for origin in _origins(data, of, every=size.every_origin):
            records = _records(data / "corpora" / of / f"{origin}.jsonl.gz")
            if origin in held_out:
                used = _write_items(records, folder, held_out[origin], size)
                records = (record for record in records if _document(record) not in used)
            kept = [{**record, "origin": origin} for record in islice(records, size.documents)]
            taken[origin] = len(kept)
            _write_lines(out / f"{origin}.jsonl", kept)
    for kind in ("feedback", "judge"):
        lines = [
            f"- {{name: {name}, role: {role}, kind: continuation, path: {kind}-{name}.jsonl}}"
            for name, (role, _, _) in objectives.items()
        ]
        (folder / f"{kind}.yaml").write_text("objectives:\n" + "\n".join(lines) + "\n")
    return taken


def _origins(data: Path, of: str, *, every: bool) -> Sequence[str]:
    if not every:
        return SMALL_POOL[of]
    return [path.name.removesuffix(".jsonl.gz") for path in sorted((data / "corpora" / of).iterdir())]


def _records(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            yield {"id": record["id"], "text": record["text"]}


def _document(record: Mapping[str, str]) -> str:
    """What all parts of a document share: the origin and the hash of its id."""
    return "-".join(record["id"].split("-")[:2])


def _write_items(records: Iterator[dict[str, str]], folder: Path, name: str, size: TextSize) -> set[str]:
    """Takes one item of each of the first documents; returns the documents, whose other parts are no text."""
    wanted = size.feedback_items + size.judge_items
    items: list[dict[str, str]] = []
    used: set[str] = set()
    for record in records:
        document = _document(record)
        if len(record["text"]) >= LEAST_CHARACTERS and document not in used:
            items.append({"id": record["id"], "text": record["text"][:ITEM_CHARACTERS]})
            used.add(document)
        if len(items) == wanted:
            break
    _write_lines(folder / f"feedback-{name}.jsonl", items[: size.feedback_items])
    _write_lines(folder / f"judge-{name}.jsonl", items[size.feedback_items :])
    return used


def _write_lines(path: Path, records: Sequence[Mapping[str, str]]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))

"""Evaluation items of a setting, in disjoint layers.

Controllers see the layer `feedback`; choices between controllers are made on `development`; the one
confirmation is read off `confirmation`. Each layer is an environment file of its own. An objective
takes its items from documents that are held out of the training text, or from a file.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dmix.mixing.trajectories.objectives import Environment, Objective, read_items, write_environment
from dmix.training.comparison.data.settings import ComparisonObjective, ComparisonSettings
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.data.text import (
    CountTokens,
    Record,
    document_of,
    in_hash_order,
    records_of,
    write_records,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.text_files import excerpt

EXCERPT_CHARACTERS = 400
_LEAST_CHARACTERS = 120
# Spare items, as parts of those that are needed: the first step where more are asked for, and the last one.
_LEAST_SPARE, _MOST_SPARE = 0.25, 2.0


def hold_out(
    records: Mapping[str, Sequence[Record]], settings: ComparisonSettings
) -> tuple[dict[str, list[Record]], dict[str, list[Record]]]:
    """Takes documents out of corpora, for the objectives that name them.

    Args:
        records: Records of every corpus in hash order, by its name.
        settings: Names objectives, items and layers.

    Returns:
        Items of each such objective, corpora taking turns; and the records that are left, by corpus.

    Raises:
        NotFoundError: If an objective names a corpus that is not there.
        InputError: If a corpus has too few documents.
    """
    left = {name: list(found) for name, found in records.items()}
    items: dict[str, list[Record]] = {}
    for objective in settings.objectives:
        if not objective.corpora:
            continue
        wanted = items_wanted(objective, settings)
        quota = -(-wanted // len(objective.corpora))
        taken = []
        for name in objective.corpora:
            if name not in left:
                raise InputError(
                    f"objective {objective.name!r} has the corpus {name!r}, which is not one of "
                    f"{', '.join(left)}"
                )
            found, left[name] = _take_documents(left[name], quota)
            if len(found) < quota or not left[name]:
                raise InputError(
                    f"corpus {name!r} has {num_text(len(found), 'document')} to hold out, but "
                    f"{objective.name!r} needs {quota} and some more text for training; lower `items` or "
                    "give more corpora"
                )
            taken.append(found)
        turns = itertools.chain.from_iterable(zip(*taken, strict=True))
        items[objective.name] = [
            {"id": r["id"], "text": excerpt(r["text"].strip(), EXCERPT_CHARACTERS)} for r in turns
        ][:wanted]
    return items, left


def items_wanted(objective: ComparisonObjective, settings: ComparisonSettings) -> int:
    """Items to take, over all layers; some more where near-duplicates are to be left out."""
    kept = settings.items_of(objective) * len(settings.layers_of(objective))
    return kept + math.ceil(objective.spare * kept) if settings.protocol == 3 else kept


def lacking_items(items: Mapping[str, Sequence[Record]], settings: ComparisonSettings) -> list[str]:
    """The objectives with too few items for which more documents can still be held out."""
    return [
        objective.name
        for objective in settings.objectives
        if objective.corpora
        and objective.spare < _MOST_SPARE
        and len(items[objective.name]) < settings.items_of(objective) * len(settings.layers_of(objective))
    ]


def with_more_spare(settings: ComparisonSettings, names: Collection[str]) -> ComparisonSettings:
    """The settings with twice the spare items for some objectives."""
    objectives = tuple(
        replace(o, spare=max(2 * o.spare, _LEAST_SPARE)) if o.name in names else o
        for o in settings.objectives
    )
    return replace(settings, objectives=objectives)


def _take_documents(records: Sequence[Record], count: int) -> tuple[list[Record], list[Record]]:
    """One record of each of the first `count` documents that are long enough, and all other documents."""
    first: dict[str, Record] = {}
    for record in records:
        document = document_of(str(record["id"]))
        if len(first) < count and document not in first and len(record["text"]) >= _LEAST_CHARACTERS:
            first[document] = record
    return list(first.values()), [r for r in records if document_of(str(r["id"])) not in first]


def items_of_file(
    objective: ComparisonObjective, settings: ComparisonSettings, *, data: Path, count_tokens: CountTokens
) -> list[Record]:
    """Question-and-answer items that fit into a sample, in hash order.

    Raises:
        InputError: If there are too few.
    """
    assert objective.path is not None
    path = data / objective.path
    found = [
        _file_item(record, objective, path)
        for record in records_of(path)
        if not objective.topics or record.get("topic") in objective.topics
    ]
    lengths = count_tokens([f"{item['question']}\n{item['answer']}" for item in found])
    # two more for end of text and for a token that the cut between question and answer may add
    fitting = [item for item, length in zip(found, lengths, strict=True) if length + 2 <= settings.seq_len]
    wanted = items_wanted(objective, settings)
    least = settings.items_of(objective) * len(settings.layers_of(objective))
    if len(fitting) < least:
        raise InputError(
            f"{path} has {num_text(len(fitting), 'item')} of at most {num_text(settings.seq_len, 'token')} "
            f"for {objective.name!r}, expected at least {least}; lower `items` or give another file"
        )
    ordered: list[Record] = in_hash_order(fitting, seed=settings.seed, of=str)
    return ordered[:wanted]


def _file_item(record: Record, objective: ComparisonObjective, path: Path) -> Record:
    """An item of a file in the form of its objective; choices bear the letters that questions show."""
    item: Record = {name: _text_of(record, name, path) for name in ("id", "question")}
    if objective.form == "qa":
        return {**item, "answer": _text_of(record, objective.answer, path)}
    choices, label = record.get("choices"), record.get("label")
    if not isinstance(choices, list) or not isinstance(label, int) or not 0 <= label < len(choices):
        raise InputError(f"{path}: item {record['id']} has no choices, or no label of the right choice")
    lettered = [f"{chr(ord('A') + number)}. {text}" for number, text in enumerate(choices)]
    return {**item, "choices": lettered, "label": label, "answer": lettered[label]}


def item_text(item: Record) -> str:
    """The whole text of an item, as a model reads it."""
    return str(item["text"]) if "text" in item else f"{item['question']}\n{item['answer']}"


def without(items: Mapping[str, Sequence[Record]], flagged: set[tuple[str, str]]) -> dict[str, list[Record]]:
    """Items that are not flagged, by (objective, id)."""
    return {name: [i for i in found if (name, str(i["id"])) not in flagged] for name, found in items.items()}


def _text_of(record: Record, name: str, path: Path) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(
            f"{path}: item {record['id']} has {name} {value!r}, expected text; correct the record"
        )
    return value


def write_layers(
    paths: StudyPaths, settings: ComparisonSettings, items: Mapping[str, Sequence[Record]]
) -> None:
    """Writes the items of every layer, and its environment file last."""
    for layer in settings.layers:
        for objective in settings.in_layer(layer):
            count, layers = settings.items_of(objective), settings.layers_of(objective)
            start = layers.index(layer) * count
            found = items[objective.name][start : start + count]
            if len(found) < count:
                raise InputError(
                    f"objective {objective.name!r} has {num_text(len(items[objective.name]), 'item')}, but "
                    f"needs {count * len(layers)}; lower `items` or give more text"
                )
            write_records(paths.items(layer, objective.name), found)
        write_environment(paths.environment(layer), layer_environment(settings, layer))


def layer_environment(settings: ComparisonSettings, layer: str) -> Environment:
    """The environment of a layer, without scales; paths start from its file, so a work folder may move."""
    objectives = tuple(
        Objective(
            name=objective.name,
            role=objective.role,
            kind=objective.kind,
            path=f"{layer}/{objective.name}.jsonl",
            weight=objective.weight,
            licence=objective.licence,
        )
        for objective in settings.in_layer(layer)
    )
    return Environment(objectives=objectives)


def item_texts(environment: Environment) -> dict[tuple[str, str], str]:
    """Whole text of every item, by (objective, item id)."""
    return {
        (objective.name, item.item_id): item.prompt + item.answer
        for objective in environment.objectives
        for item in read_items(objective, environment.folder)
    }

"""Writes the text of a setting: items, what base models read, what runs draw from.

The text of the runs is cut so that each field has the supply that the setting asks for; their
source text is part of what the base models have seen, as replayed text is in practice.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.comparison.data.items import hold_out, item_texts, items_of_file, write_layers
from dmix.training.comparison.data.near_duplicates import similarities
from dmix.training.comparison.data.settings import LAYERS, ComparisonSettings, LoadedSetting
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.data.text import (
    CorpusText,
    CountTokens,
    Record,
    corpus_files,
    read_corpus,
    split_supply,
    write_records,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_json
from dmix.warehouse_schema.taxonomy import FIELDS

Chosen = dict[tuple[str, str], dict[str, Sequence[Record]]]


def write_text(
    paths: StudyPaths,
    loaded: LoadedSetting,
    *,
    data: Path,
    count_tokens: CountTokens,
    progress: Callable[[str], None],
) -> None:
    """Writes items and corpora, and a record of what they hold last.

    Raises:
        NotFoundError: If a corpus or an item file does not exist.
        InputError: If one of them holds too little.
    """
    settings = loaded.settings
    globs = {"source": settings.source, "target": settings.target}
    files = {field: corpus_files(data, globs[field]) for field in FIELDS}
    both = files["source"].keys() & files["target"].keys()
    if both:
        raise InputError(f"a corpus named {min(both)!r} is in both fields; rename one of the files")
    fields = {name: field for field in FIELDS for name in files[field]}
    records = {
        name: read_corpus(files[field][name], field=field, seed=settings.seed)
        for name, field in fields.items()
    }
    progress(f"read {sum(map(len, records.values())):,} records of {len(records)} corpora")
    items, left = hold_out(records, settings)
    for objective in settings.objectives:
        if objective.path is not None:
            items[objective.name] = items_of_file(objective, settings, data=data, count_tokens=count_tokens)
    write_layers(paths, settings, items)
    corpora = [
        CorpusText(name, fields[name], found, 1.0 + np.asarray(count_tokens([r["text"] for r in found])))
        for name, found in left.items()
    ]
    chosen = choose_text(corpora, settings)
    tokens: dict[str, dict[str, int]] = {}
    lengths = {(c.name, str(r["id"])): t for c in corpora for r, t in zip(c.records, c.tokens_R, strict=True)}
    for (dataset, field), by_corpus in chosen.items():
        for name, found in by_corpus.items():
            write_records(paths.text(dataset, field) / f"{name}.jsonl", found)
        tokens[f"{dataset}/{field}"] = {
            name: int(sum(lengths[name, str(r["id"])] for r in found)) for name, found in by_corpus.items()
        }
    progress("comparing items with the training text")
    flag_near_duplicates(paths, settings, chosen)
    publish_json(paths.text_record, {"setting": loaded.digest, "tokens": tokens})


def choose_text(corpora: Sequence[CorpusText], settings: ComparisonSettings) -> Chosen:
    """The records of each corpus that base models and runs get, by (dataset, field) and name.

    Runs of a synthetic source get none of the source files.

    Raises:
        InputError: If a field or a small pool has too few tokens, or text that is to be written has pools.
    """
    run_tokens = settings.run_samples * settings.seq_len
    supplies = {"source": settings.source_supply, "target": settings.target_supply}
    chosen: Chosen = {}
    for field in FIELDS:
        own = {corpus.name: corpus for corpus in corpora if corpus.field == field}
        sizes = {name: float(corpus.tokens) for name, corpus in own.items()}
        fixed = {n: share * run_tokens for n, share in settings.small_pools.items() if n in own}
        quotas = {}
        if field == "target" or not settings.synthetic_source:
            quotas["run"] = split_supply(
                sizes, total=supplies[field] * run_tokens, fixed=fixed, exponent=settings.size_exponent
            )
        elif fixed:
            raise InputError(
                f"small pool {min(fixed)!r} is of the source, which a model writes in {settings.name!r};"
                " only corpora of the target can be small pools there"
            )
        if field == "source":
            # a text that is too small is passed over more than once, as `train base` does
            total = min(float(settings.base_tokens), sum(sizes.values()))
            quotas["base"] = split_supply(sizes, total=total, fixed={}, exponent=settings.size_exponent)
        for dataset, quota in quotas.items():
            chosen[dataset, field] = {name: own[name].first(wanted) for name, wanted in quota.items()}
    return chosen


def flag_near_duplicates(
    paths: StudyPaths,
    settings: ComparisonSettings,
    chosen: Mapping[tuple[str, str], Mapping[str, Sequence[Record]]],
) -> None:
    """Writes the similarity of every item to the training text, and which ones count as near-duplicates."""
    keys = {}
    for layer in LAYERS:
        for (objective, item), text in item_texts(load_environment(paths.environment(layer))).items():
            keys[f"{layer}/{objective}/{item}"] = text
    documents = (r["text"] for by_corpus in chosen.values() for found in by_corpus.values() for r in found)
    found = similarities(keys, documents)
    publish_json(
        paths.near_duplicates,
        {
            "threshold": settings.near_duplicate,
            "similarity": {key: round(value, 4) for key, value in found.items()},
            "flagged": sorted(key for key, value in found.items() if value >= settings.near_duplicate),
        },
    )

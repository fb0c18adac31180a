"""Writes the text of a setting: items, what base models read, what runs draw from.

The text of the runs is cut so that each field has the supply that the setting asks for; their
source text is part of what the base models have seen, as replayed text is in practice.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.comparison.data.items import (
    hold_out,
    item_text,
    item_texts,
    items_of_file,
    lacking_items,
    with_more_spare,
    without,
    write_layers,
)
from dmix.training.comparison.data.near_duplicates import similarities
from dmix.training.comparison.data.settings import ComparisonSettings, LoadedSetting
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.data.text import (
    CorpusText,
    CountTokens,
    Record,
    corpus_files,
    document_of,
    hash_of,
    read_corpus,
    split_supply,
    write_records,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_json
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.taxonomy import FIELDS

Chosen = dict[tuple[str, str], dict[str, Sequence[Record]]]
"""Records by (dataset, field) and corpus."""


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
        raise InputError(f"both fields have a corpus {min(both)!r}; rename one of the files")
    fields = {name: field for field in FIELDS for name in files[field]}
    records = {
        name: read_corpus(files[field][name], field=field, seed=settings.seed)
        for name, field in fields.items()
    }
    for name in settings.by_label:
        if name not in records:
            raise InputError(f"by_label contains {name!r}, which is not one of {', '.join(records)}")
        labels = split_by_label(name, records.pop(name))
        fields |= dict.fromkeys(labels, fields.pop(name))
        records |= labels
    read = num_text(sum(map(len, records.values())), "record")
    progress(f"read {read} of {num_text(len(records), 'corpus')}")
    items, corpora, chosen = items_and_text(
        records, fields, settings, data=data, count_tokens=count_tokens, progress=progress
    )
    write_layers(paths, settings, items)
    if settings.shuffled:
        shuffle_words(chosen, settings)
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


def items_and_text(
    records: Mapping[str, Sequence[Record]],
    fields: Mapping[str, str],
    settings: ComparisonSettings,
    *,
    data: Path,
    count_tokens: CountTokens,
    progress: Callable[[str], None],
) -> tuple[dict[str, list[Record]], list[CorpusText], Chosen]:
    """Items that the training text does not nearly contain, all corpora without them, and that text.

    Where too few items are left, more documents are held out for them and all is chosen again.

    Args:
        records: Records of every corpus in hash order, by its name.
        fields: Its field.
        settings: Names objectives, items and supplies.
        data: Folder of item files.
        count_tokens: Tokens of each text.
        progress: Receives lines for people.

    Raises:
        InputError: If a corpus, a field or an item file holds too little.
    """
    while True:
        items, left = hold_out(records, settings)
        for objective in settings.objectives:
            if objective.path is not None:
                items[objective.name] = items_of_file(
                    objective, settings, data=data, count_tokens=count_tokens
                )
        unknown = set(settings.external) - left.keys()
        if unknown:
            raise InputError(f"'external' contains {min(unknown)!r}, which is not one of {', '.join(left)}")
        corpora = [
            CorpusText(name, fields[name], found, 1.0 + np.asarray(count_tokens([r["text"] for r in found])))
            for name, found in left.items()
            if name not in settings.external
        ]
        chosen = choose_text(corpora, settings)
        if settings.protocol != 3:
            return items, corpora, chosen
        progress("leaving out items that are almost the same as training text")
        items = without(items, near_items(items, settings, chosen))
        lacking = lacking_items(items, settings)
        if not lacking:
            return items, corpora, chosen
        progress(f"holding out more documents for {', '.join(lacking)}")
        settings = with_more_spare(settings, lacking)


def choose_text(corpora: Sequence[CorpusText], settings: ComparisonSettings) -> Chosen:
    """The records of each corpus that base models and runs get, by (dataset, field) and name.

    Runs of a synthetic source get none of the source files. A world whose supply is more than its items
    leave gets what is there.

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
            total = supplies[field] * run_tokens
            if settings.world is not None:  # drawn before anybody knew what the items would leave
                total = min(total, sum(sizes.values()))
            quotas["run"] = split_supply(sizes, total=total, fixed=fixed, exponent=settings.size_exponent)
        elif fixed:
            raise InputError(
                f"small pool {min(fixed)!r} is a source corpus, but in {settings.name!r} a model writes "
                "the source; use only target corpora as small pools"
            )
        if field == "source":
            # a text that is too small is passed over more than once, as `train base` does
            readers = settings.bases if settings.protocol == 3 else 1
            total = min(float(settings.base_tokens) * readers, sum(sizes.values()))
            quotas["base"] = split_supply(sizes, total=total, fixed={}, exponent=settings.size_exponent)
        for dataset, quota in quotas.items():
            chosen[dataset, field] = {name: own[name].first(wanted) for name, wanted in quota.items()}
    if settings.protocol == 3:
        whole = chosen.pop(("base", "source"))
        for base in range(settings.bases):
            chosen[base_text(settings, base), "source"] = {
                name: part
                for name, found in whole.items()
                if (part := [r for r in found if _reader_of(r, settings) == base])
            }
    return chosen


def base_text(settings: ComparisonSettings, base: int) -> str:
    """Name of the text, and of the dataset, that a base model is trained on."""
    return f"base-text-{base}" if settings.protocol == 3 else "base"


def _reader_of(record: Record, settings: ComparisonSettings) -> int:
    """The base model that reads a document; all of its parts go the same way."""
    return int.from_bytes(hash_of(f"reader/{document_of(str(record['id']))}")[:8], "big") % settings.bases


def split_by_label(name: str, records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of a corpus by the name `NAME-LABEL`, which becomes their origin; `NAME-none` without one."""
    found: dict[str, list[Record]] = {}
    for record in records:
        words = re.sub(r"[^a-z0-9]+", "_", str(record.get("label") or "none").lower()).strip("_")
        own = f"{name}-{words or 'none'}"
        found.setdefault(own, []).append({**record, "origin": own})
    return dict(sorted(found.items()))


def near_items(
    items: Mapping[str, Sequence[Record]], settings: ComparisonSettings, chosen: Chosen
) -> set[tuple[str, str]]:
    """(objective, id) of the items that are nearly in the training text."""
    texts = {f"{name}/{item['id']}": item_text(item) for name, found in items.items() for item in found}
    documents = (r["text"] for by_corpus in chosen.values() for found in by_corpus.values() for r in found)
    near = similarities(texts, documents)
    flagged = {key for key, value in near.items() if value >= settings.near_duplicate}
    return {
        (name, str(i["id"])) for name, found in items.items() for i in found if f"{name}/{i['id']}" in flagged
    }


def shuffle_words(chosen: Chosen, settings: ComparisonSettings) -> None:
    """Puts the words of a part of the runs' corpora in random order, the same part on every machine."""
    for field in FIELDS:
        own = chosen.get(("run", field), {})
        order = sorted(own, key=lambda name: hash_of(f"{settings.seed}/shuffled/{name}"))
        for name in order[: round(settings.shuffled * len(order))]:
            own[name] = [{**r, "text": shuffled_text(r["text"], key=str(r["id"]))} for r in own[name]]


def shuffled_text(text: str, *, key: str) -> str:
    """The words of a text in an order that follows from its key."""
    words = text.split()
    seed = int.from_bytes(hash_of(f"shuffled/{key}")[:8], "big")
    return " ".join(words[i] for i in np.random.default_rng(seed).permutation(len(words)))


def flag_near_duplicates(
    paths: StudyPaths,
    settings: ComparisonSettings,
    chosen: Mapping[tuple[str, str], Mapping[str, Sequence[Record]]],
) -> None:
    """Writes the similarity of every item to the training text, and which ones count as near-duplicates."""
    keys = {}
    for layer in settings.layers:
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

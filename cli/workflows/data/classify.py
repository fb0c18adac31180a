"""From raw text to corpora of labelled documents: `dmix etl classify`."""

import functools
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.cli.show.output import get_ready_to_show, warehouse_flag
from dmix.cli.show.result import Result
from dmix.cli.workflows.data.shard import dataset_result, make_dataset
from dmix.cli.workflows.preflight import check_classifier, check_id_column, check_inputs
from dmix.etl.reading.documents import Columns
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.templates.alternatives import NOTHING
from dmix.etl.templates.chat_model import MODEL
from dmix.etl.templates.templates import special_token_flags
from dmix.etl.templates.unread import columns_of_record, reason_text, text_flag
from dmix.warehouse_schema.catalog.at_end import catalog_at_end
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, checked_name
from dmix.warehouse_schema.files.locks import refuse_while_working
from dmix.warehouse_schema.files.manifests import corpus_versions
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.taxonomy import FIELDS

if TYPE_CHECKING:
    from dmix.etl.classify.classify import CorpusOutcome
    from dmix.etl.classify.plan import CorpusPlan
    from dmix.etl.classify.settings import ClassifySettings
    from dmix.etl.spark.executors import Automatic
    from dmix.warehouse_schema.files.manifests import CorpusVersion, InputFile


# Files without the text column, and columns of each, that a message names.
_MOST_FILES, _MOST_COLUMNS = 3, 12
# Reasons for rejects that messages explain, the most frequent ones.
_MOST_REASONS = 5


def classify_text(
    warehouse: Warehouse,
    *,
    source: Sequence[str] = (),
    target: Sequence[str] = (),
    name: str = "main",
    add: bool = False,
    seq_len: int | None = None,
    settings: "ClassifySettings",
    executor: "Automatic",
    data_url: str | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Reads text and gives every document its domain; the result's value is a list of outcomes.

    With `seq_len`, the corpora become a dataset by the same workers, and the value is (outcomes, manifest).

    Args:
        warehouse: Where the corpora go.
        source: Files, folders, globs or URLs of the source field.
        target: The same of the target field.
        name: Makes the corpora `NAME-source` and `NAME-target`.
        add: Keep the inputs of the last versions and add these.
        seq_len: Shard the corpora, too, into samples of so many tokens.
        settings: Classifier, taxonomy, columns.
        executor: Runs the tasks.
        data_url: Remote folder for labels and streams, which the warehouse remembers.
        dry_run: Look, and classify nothing; the value is a list of plans.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If an input does not exist.
        InputError: If there is no input, or it or a setting cannot be used.
        LockHeldError: If another process writes one of the corpora.
    """
    if not source and not target:
        raise InputError("there is no input; give files, folders or glob patterns with --source and --target")
    checked_name("corpus", name)
    check_inputs((*source, *target))
    check_id_column((*source, *target), settings.id_column)
    check_classifier(warehouse, settings)
    inputs = {"source": source, "target": target}
    for field in FIELDS if not dry_run else ():
        if inputs[field]:
            lock = warehouse.lock_of("corpus", f"{name}-{field}")
            refuse_while_working(lock, what=f"corpus {name}-{field} of {warehouse.root}")
    shard = None if seq_len is None else ShardSettings(seq_len=seq_len)
    with catalog_at_end(needed=not dry_run) as catalog:
        executor.prepare(
            "dmix.etl.classify.classify",
            "dmix.etl.classifiers.embedded",
            *(() if shard is None else ("dmix.etl.shard.shard",)),
            load=functools.partial(_load, warehouse, settings, sharding=shard is not None),
        )
        from dmix.etl.classify import classify as job
        from dmix.etl.classify.plan import plan_corpora
        from dmix.etl.publishing.mirror import use_data_url

        if not dry_run:
            use_data_url(warehouse, data_url)
        requests = job.field_requests(warehouse, inputs, name=name, add=add, settings=settings)
        if dry_run:
            return _plans_result(
                plan_corpora(executor, warehouse, requests, settings=settings, progress=progress)
            )
        outcomes = job.classify_corpora(executor, warehouse, requests, settings=settings, progress=progress)
        if shard is not None:
            pair = [corpus for field in FIELDS if corpus_versions(warehouse, corpus := f"{name}-{field}")]
            manifest, existed = make_dataset(
                warehouse, corpus=pair, settings=shard, executor=executor, progress=progress
            )
        catalog.begin(warehouse)
        result = _outcomes_result(outcomes)
        for line in _advice(warehouse, outcomes, settings):
            result.line(line)
        if shard is None:
            flag = warehouse_flag(warehouse.root)
            result.line(
                f"next, make training samples: dmix etl shard{flag}   # with --environment FILE, it leaves "
                "out documents with evaluation items"
            )
        else:
            result = _with_dataset(result, dataset_result(manifest, existed=existed))
        get_ready_to_show()
        catalog.end(progress)
        return result


def _load(warehouse: Warehouse, settings: "ClassifySettings", *, sharding: bool) -> None:
    """Loads what the tasks need into this process; its forks then have it, too."""
    from dmix.etl.classifiers.registry import load_weights
    from dmix.etl.classify.plan import requested_classifier
    from dmix.etl.text.tokens import EMBEDDED, load_tokenizer

    load_weights(requested_classifier(warehouse, settings))
    if sharding:
        load_tokenizer(EMBEDDED)


def _advice(
    warehouse: Warehouse, outcomes: "Sequence[CorpusOutcome]", settings: "ClassifySettings"
) -> list[str]:
    """How to read records that lack the text, and how to encode the special tokens of a chat template."""
    lines = []
    for outcome in outcomes:
        lines += _why_rejected(warehouse, outcome)
        lines += without_text(warehouse, outcome.version, settings)
    if tokens := special_token_flags(settings):
        folder = shlex.quote(str(settings.template).removeprefix(MODEL))
        lines.append(
            "the chat template writes special tokens. To encode each as one token, run: dmix etl shard "
            f"--tokenizer {folder}{tokens}"
        )
    return lines


def _why_rejected(warehouse: Warehouse, outcome: "CorpusOutcome") -> list[str]:
    """A line for each of the most frequent reasons, with what helps, and the command that lists all rejects.

    `without_text` speaks of records without the text column.
    """
    corpus, found = outcome.version.corpus, _rejected(outcome)
    if not found:
        return []
    lines = [
        f"{corpus}: {num_text(count, 'document')} rejected, {reason}: {reason_text(reason)}"
        for reason, count in list(found.items())[:_MOST_REASONS]
        if reason != "missing_text"
    ]
    query = f"SELECT path, position, reason, detail FROM rejects WHERE corpus = '{corpus}'"
    return [*lines, f'{corpus}: to list the rejects: dmix sql{warehouse_flag(warehouse.root)} "{query}"']


def _with_dataset(corpora: Result, dataset: Result) -> Result:
    """What classifying came to, and the dataset of the pair of corpora."""
    return Result(
        {"corpora": corpora.facts, "dataset": dataset.facts},
        (corpora.value, dataset.value),
        [*corpora.blocks, *dataset.blocks],
    )


def without_text(warehouse: Warehouse, version: "CorpusVersion", settings: "ClassifySettings") -> list[str]:
    """A line for each of the first files with records that lack the text, with columns that it has."""
    asked = (
        f"for template {settings.template!r}"
        if settings.template
        else f"in column {settings.text_column[0]!r}"
    )
    if len(settings.text_column) > 1:
        asked = f"in columns {', '.join(settings.text_column)}"
    found: Counter[str] = Counter()
    columns: dict[str, list[str]] = {}
    for part in version.parts:
        if not part.rejected.get("missing_text"):
            continue
        for file in part.reject_files:
            path = warehouse.rejects(version.corpus) / part.fingerprint / file.name
            if not path.is_file():  # in a remote folder
                continue
            import pyarrow.compute as pc
            import pyarrow.parquet as pq

            rejects = pq.read_table(path, columns=["path", "reason", "prefix"])
            rejects = rejects.filter(pc.equal(rejects["reason"], "missing_text"))
            inputs = {given.name: given for given in part.inputs}
            for name, prefix in zip(rejects["path"].to_pylist(), rejects["prefix"].to_pylist(), strict=True):
                if name not in inputs:  # of a copy: `dmix init`, which copied the others, said what helps
                    continue
                found[name] += 1
                if name not in columns:
                    columns[name] = _columns(inputs[name], prefix)
    read = Columns.of(settings).alternatives if version.documents else NOTHING
    lines = []
    for name, count in found.most_common(_MOST_FILES):
        others = [other for other in columns[name] if other not in settings.text_column or settings.template]
        has = f"; the file has the columns {', '.join(others[:_MOST_COLUMNS])}" if others else ""
        lines.append(
            f"{version.corpus}: no text {asked} in {num_text(count, 'record')} of {name}{has}; "
            f"{text_flag(others, all_columns=list(columns.values()), read=read)}"
        )
    if len(found) > _MOST_FILES:
        lines.append(
            f"{version.corpus}: records without text also in "
            f"{num_text(len(found) - _MOST_FILES, 'more file')}"
        )
    return lines


def _columns(source: "InputFile", prefix: str) -> list[str]:
    """Names of columns of a file: of its schema, or those that the beginning of a record shows."""
    if source.format == "parquet" and Path(source.path).is_file():
        import pyarrow.parquet as pq

        return list(pq.read_schema(source.path).names)
    return columns_of_record(prefix)


_MOST_SKIPPED = 20


def _skipped(result: Result, plan: "CorpusPlan") -> None:
    from dmix.etl.reading.sources import conversion

    if plan.skipped:
        shown = list(plan.skipped.items())[:_MOST_SKIPPED]
        listed = ", ".join(f"{what} {count:,}" for what, count in shown)
        more = len(plan.skipped) - len(shown)
        result.line(
            f"{plan.request.corpus}: files left out: {listed}{f' and {more:,} more kinds' if more else ''}"
            f"{conversion(plan.skipped)}"
        )


def _plan_json(plan: "CorpusPlan") -> dict:
    formats = Counter(
        source.format if source.compression == "none" else f"{source.format}+{source.compression}"
        for source in plan.inputs
    )
    return {
        "corpus": plan.request.corpus,
        "field": plan.request.field,
        "files": len(plan.inputs),
        "bytes": sum(source.size_bytes for source in plan.inputs),
        "formats": dict(sorted(formats.items())),
        "skipped": dict(plan.skipped),
        "parts_kept": len(plan.kept),
        "parts_to_do": len(plan.to_do),
        "bytes_to_do": sum(part.size_bytes for part in plan.to_do),
    }


def _plans_result(plans: "list[CorpusPlan]") -> Result:
    result = Result([_plan_json(plan) for plan in plans], plans)
    rows = []
    for plan in plans:
        _skipped(result, plan)
        value = _plan_json(plan)
        formats = ", ".join(f"{count} {form}" for form, count in value["formats"].items())
        rows.append(
            (
                value["corpus"],
                value["files"],
                value["bytes"],
                formats,
                value["parts_kept"],
                value["parts_to_do"],
                value["bytes_to_do"],
            )
        )
    result.table(
        ("corpus", "files", "bytes", "formats", "parts kept", "parts to do", "bytes to do"),
        rows,
        title="planned work",
    )
    return result


def _rejected(outcome: "CorpusOutcome") -> dict[str, int]:
    total: Counter[str] = sum((Counter(part.rejected) for part in outcome.version.parts), Counter())
    return dict(total.most_common())


def _asked(version: "CorpusVersion") -> int:
    """Documents of a version about which the fallback was asked."""
    return sum(part.fallback_documents for part in version.parts)


def _outcome_json(outcome: "CorpusOutcome") -> dict:
    version = outcome.version
    return {
        "corpus": version.corpus,
        "version": version.version,
        "field": version.field,
        "published": outcome.published,
        "classifier": version.classifier,
        "taxonomy": version.taxonomy.name,
        "documents": version.documents,
        "rejected": version.rejected,
        "rejects": _rejected(outcome),
        "domains": version.domain_documents(),
        "skipped": dict(outcome.plan.skipped),
        "parts_kept": len(outcome.plan.kept),
        "parts_made": len(outcome.plan.to_do),
        "fallback_documents": _asked(version),
    }


def _outcomes_result(outcomes: "list[CorpusOutcome]") -> Result:
    """Per-domain counts side by side, then what was rejected, then one line per corpus."""
    result = Result([_outcome_json(outcome) for outcome in outcomes], outcomes)
    counts = {outcome.version.corpus: outcome.version.domain_documents() for outcome in outcomes}
    labels = [
        label
        for label in outcomes[0].version.taxonomy.labels
        if any(label in domains for domains in counts.values())
    ]
    columns = ["domain"]
    rows: list[list[object]] = [[label] for label in labels]
    for corpus, domains in counts.items():
        total = sum(domains.values())
        columns += [corpus, "share"]
        for row in rows:
            count = domains.get(str(row[0]), 0)
            row += [count, f"{count / total:.1%}"]
    result.table(columns, rows, title="documents")
    rejects = [
        (outcome.version.corpus, reason, count)
        for outcome in outcomes
        for reason, count in _rejected(outcome).items()
    ]
    if rejects:
        result.table(("corpus", "reason", "documents"), rejects, title="rejected")
    for outcome in outcomes:
        _skipped(result, outcome.plan)
        version, plan = outcome.version, outcome.plan
        parts = len(plan.kept) + len(plan.to_do)
        kept = f"; {len(plan.kept):,} of {num_text(parts, 'part')} kept from before" if plan.kept else ""
        result.line(
            f"{version.corpus}, version {version.version}{'' if outcome.published else ' (unchanged)'}: "
            f"{num_text(version.documents, 'document')}, {version.rejected:,} rejected{kept}"
        )
        asked = _asked(version)
        if asked:
            share = asked / max(1, version.documents + version.rejected)
            result.line(
                f"{version.corpus}: the fallback labelled {num_text(asked, 'unsure document')} ({share:.1%})"
            )
    return result

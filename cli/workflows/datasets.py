"""From raw text to a dataset: what `dmix etl classify` and `dmix etl shard` do."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.show.result import Result
from dmix.cli.workflows.preflight import check_classifier, check_id_column, check_inputs
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.sizes import size_text

if TYPE_CHECKING:
    from dmix.etl.classify.classify import CorpusOutcome
    from dmix.etl.classify.plan import CorpusPlan
    from dmix.etl.classify.settings import ClassifySettings
    from dmix.etl.screening.ngrams import EvaluationItem
    from dmix.etl.shard.plan import ShardPlan
    from dmix.etl.shard.settings import ShardSettings
    from dmix.etl.spark.executors import Automatic
    from dmix.warehouse_schema.files.manifests import CorpusVersion, DatasetManifest, InputFile

Progress = Callable[[str], None]

# Files without the text column, and columns of each, that a message names.
_MOST_FILES, _MOST_COLUMNS = 3, 12


def classify_text(
    warehouse: Warehouse,
    *,
    source: Sequence[str] = (),
    target: Sequence[str] = (),
    name: str = "main",
    add: bool = False,
    settings: "ClassifySettings",
    executor: "Automatic",
    data_url: str | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Reads text and gives every document its domain; the result's value is a list of outcomes.

    Args:
        warehouse: Where the corpora go.
        source: Files, folders, globs or URLs of the source field.
        target: The same of the target field.
        name: Makes the corpora `NAME-source` and `NAME-target`.
        add: Keep the inputs of the last versions and add these.
        settings: Classifier, taxonomy, columns.
        executor: Runs the tasks.
        data_url: Remote folder for labels and streams, which the warehouse remembers.
        dry_run: Look, and classify nothing; the value is a list of plans.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If an input does not exist.
        InputError: If there is no input, or it or a setting cannot be used.
    """
    if not source and not target:
        raise InputError("no input given; name files, folders or globs with --source and --target")
    check_inputs((*source, *target))
    check_id_column((*source, *target), settings.id_column)
    check_classifier(warehouse, settings)
    executor.prepare("dmix.etl.classify.classify", "dmix.etl.classifiers.embedded")
    from dmix.etl.classify import classify as job
    from dmix.etl.classify.plan import plan_corpora
    from dmix.etl.publishing.mirror import use_data_url
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    if not dry_run:
        use_data_url(warehouse, data_url)
    requests = job.field_requests(
        warehouse, {"source": source, "target": target}, name=name, add=add, settings=settings
    )
    if dry_run:
        return _plans_result(
            plan_corpora(executor, warehouse, requests, settings=settings, progress=progress)
        )
    outcomes = job.classify_corpora(executor, warehouse, requests, settings=settings, progress=progress)
    sync_at_end(warehouse, warn=progress)
    result = _outcomes_result(outcomes)
    for outcome in outcomes:
        for line in without_text(warehouse, outcome.version, settings.text_column):
            result.line(line)
    return result


def shard_corpora(
    warehouse: Warehouse,
    *,
    corpus: Sequence[str] = (),
    settings: "ShardSettings",
    environment: Sequence[Path] = (),
    executor: "Automatic",
    data_url: str | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """One stream of samples for each (field, domain); the result's value is the dataset's manifest.

    Args:
        warehouse: Where the corpora are and the dataset goes.
        corpus: Names of corpora, `NAME[@vK]`; may be empty where one pair is there.
        settings: Tokenizer, sample length, duplicates.
        environment: Environment files whose items are kept out of the text.
        executor: Runs the tasks.
        data_url: Remote folder for labels and streams, which the warehouse remembers.
        dry_run: Look, and write nothing; the value is the plan.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If a corpus or file does not exist.
        InputError: If corpora or settings cannot be used.
    """
    executor.prepare("dmix.etl.shard.tasks", "dmix.etl.text.tokens")
    from dmix.etl.publishing.mirror import use_data_url
    from dmix.etl.shard.plan import plan_dataset, published_dataset, resolve_corpora
    from dmix.etl.shard.shard import shard_dataset
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    if not dry_run:
        use_data_url(warehouse, data_url)
    corpora = resolve_corpora(warehouse.require(), corpus)
    items = evaluation_items(environment)
    plan = plan_dataset(warehouse, corpora=corpora, settings=settings, items=items)
    manifest = published_dataset(warehouse, plan)
    if dry_run:
        return _shard_plan_result(plan, exists=manifest is not None)
    existed = manifest is not None
    if manifest is None or items:  # a dataset that exists may not have been screened for these items
        manifest = shard_dataset(
            executor, warehouse, corpora=corpora, settings=settings, items=items, progress=progress
        )
    else:
        progress(f"dataset {manifest.dataset} exists already with these settings; nothing to do")
    sync_at_end(warehouse, warn=progress)
    return dataset_result(manifest, existed=existed)


def check_kept_out(
    warehouse: Warehouse,
    dataset: str | None,
    environment: Path,
    *,
    allow_unscreened: bool,
    progress: Callable[[str], None],
) -> None:
    """Refuses an environment whose items may be in the training text.

    Items with too few words to be looked for in text are not asked about. Of a dataset of dmix 0.1, which
    did not record items, it only warns.

    Args:
        warehouse: Where the dataset is.
        dataset: Id or name; None for the only one.
        environment: Environment file.
        allow_unscreened: Warn only.
        progress: Receives the warning.

    Raises:
        InputError: If the dataset was sharded without items of the environment.
    """
    from dmix.etl.screening.ngrams import NgramIndex, items_digest
    from dmix.mixing.trajectories.objectives import load_environment, read_items
    from dmix.warehouse_schema.files.manifests import item_digest, read_dataset_manifest

    manifest = read_dataset_manifest(warehouse.require(), dataset)
    all_items = evaluation_items([environment])
    if manifest.settings.get("contamination") == items_digest(all_items):
        return  # these very items, and a dataset of dmix 0.1 records no more than that
    found = load_environment(environment)
    used = {
        item_digest(item.question, item.answer)
        for objective in found.objectives
        for item in read_items(objective, found.folder)
    }
    open_items = [
        item
        for item in {item_digest(i.question, i.answer): i for i in all_items}.items()
        if item[0] in used.difference(manifest.kept_out or ())
    ]
    count = len(open_items) - len(NgramIndex([item for _, item in open_items]).too_short)
    if not count:
        return
    if manifest.kept_out is None:
        progress(
            f"warning: dataset {manifest.name or manifest.dataset} was made by a version of dmix that did not"
            f" record which evaluation items were kept out of it; {count:,} of {environment} may be in it"
        )
        return
    message = (
        f"{count:,} of {len(used):,} evaluation items of {environment} were not kept out of dataset"
        f" {manifest.name or manifest.dataset}: a model may be scored on text that it trains on"
    )
    if not allow_unscreened:
        raise InputError(
            f"{message}; run 'dmix etl shard' with --environment {environment} beside its other flags, or go"
            " on with --allow-unscreened"
        )
    progress(f"warning: {message}")


def without_text(warehouse: Warehouse, version: "CorpusVersion", column: str) -> list[str]:
    """A line for each of the first files with records that lack the text column, with columns that it has."""
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
            for name, prefix in zip(rejects["path"].to_pylist(), rejects["prefix"].to_pylist(), strict=True):
                found[name] += 1
                if name not in columns:
                    source = next((given for given in part.inputs if given.name == name), None)
                    columns[name] = _columns(source, prefix)
    lines = []
    for name, count in found.most_common(_MOST_FILES):
        others = [other for other in columns[name] if other != column]
        has = f"; it has {', '.join(others[:_MOST_COLUMNS])}" if others else ""
        flag = f", for example --text-column {others[0]}" if others else ""
        lines.append(
            f"{version.corpus}: {count:,} records of {name} have no text in column {column!r}{has}; name the"
            f" column of the text with --text-column{flag}"
        )
    if len(found) > _MOST_FILES:
        lines.append(f"{version.corpus}: and {len(found) - _MOST_FILES:,} more files with such records")
    return lines


def _columns(source: "InputFile | None", prefix: str) -> list[str]:
    """Names of columns of a file: of its schema, or those that the beginning of a record shows."""
    if source is not None and source.format == "parquet" and Path(source.path).is_file():
        import pyarrow.parquet as pq

        return list(pq.read_schema(source.path).names)
    return list(dict.fromkeys(re.findall(r'[{,]\s*"([^"\\]{1,40})"\s*:', prefix)))


def evaluation_items(environments: Sequence[Path]) -> "list[EvaluationItem]":
    """All items of the files that environments name, whatever split or limit they ask for.

    Raises:
        NotFoundError: If a file does not exist.
        InputError: If one is not what it should be.
    """
    from dmix.etl.screening.ngrams import EvaluationItem
    from dmix.mixing.trajectories.objectives import load_environment, read_items

    return [
        EvaluationItem(
            objective=objective.name, item_id=item.item_id, question=item.question, answer=item.answer
        )
        for found in map(load_environment, environments)
        for objective in found.objectives
        for item in read_items(dataclasses.replace(objective, limit=None, split="all"), found.folder)
    ]


_MOST_SKIPPED = 20


def _skipped(result: Result, plan: "CorpusPlan") -> None:
    if plan.skipped:
        shown = list(plan.skipped.items())[:_MOST_SKIPPED]
        listed = ", ".join(f"{what} {count:,}" for what, count in shown)
        more = len(plan.skipped) - len(shown)
        result.line(
            f"{plan.request.corpus}: files left out: {listed}{f' and {more:,} more kinds' if more else ''}"
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
        title="what would be done",
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
        state = "published" if outcome.published else "unchanged"
        result.line(
            f"{version.corpus} v{version.version} {state}: {version.documents:,} documents,"
            f" {version.rejected:,} rejected; {len(plan.to_do)} parts made, {len(plan.kept)} kept"
        )
        asked = _asked(version)
        if asked:
            share = asked / max(1, version.documents + version.rejected)
            result.line(
                f"{version.corpus}: {asked:,} documents ({share:.1%}) were unsure and sent to the fallback"
            )
    return result


def _shard_plan_result(plan: "ShardPlan", *, exists: bool) -> Result:
    from dmix.etl.shard.plan import estimated_tokens

    estimates = estimated_tokens(plan)
    domains = [
        {
            "field": field,
            "domain": domain,
            "documents": sum(split.documents for split in splits),
            "text_bytes": sum(split.text_bytes for split in splits),
            "splits": len(splits),
            "estimated_tokens": estimates[field, domain],
            "estimated_samples": estimates[field, domain] // plan.format.seq_len,
        }
        for (field, domain), splits in plan.splits.items()
    ]
    result = Result({"dataset": plan.dataset, "exists": exists, "domains": domains}, plan)
    result.table(list(domains[0]), [list(domain.values()) for domain in domains])
    state = "exists already; nothing would be done" if exists else "would be made"
    less = ", less those that are left out" if plan.drop_duplicates or plan.remove_contaminated else ""
    result.line(
        f"dataset {plan.dataset} {state}: {len(plan.all_splits)} splits, {size_text(plan.text_bytes)} of"
        f" text, about {sum(estimates.values()):,} tokens{less}"
    )
    return result


def dataset_result(manifest: "DatasetManifest", *, existed: bool | None = None) -> Result:
    """Shares of every domain with documents, and how many domains each field really has."""
    from dmix.etl.shard.start_state import start_state, summarise

    shares = start_state(manifest)
    fields = summarise(shares)
    value: dict[str, Any] = {
        "dataset": manifest.dataset,
        "name": manifest.name,
        "seq_len": manifest.seq_len,
        "tokenizer": manifest.tokenizer.name,
        "domains": [asdict(share) for share in shares],
        "fields": [asdict(field) for field in fields],
    }
    result = Result(value if existed is None else {**value, "existed": existed}, manifest)
    columns = [
        "field",
        "domain",
        "documents",
        "tokens",
        "tail tokens",
        "samples",
        "document share",
        "sample share",
    ]
    rows = [
        (
            share.field,
            share.domain,
            share.documents,
            share.tokens,
            share.tail_tokens,
            share.samples,
            share.document_weight,
            share.sample_weight,
        )
        for share in shares
        if share.documents
    ]
    name = f" ({manifest.name})" if manifest.name else ""
    result.table(
        columns, rows, title=f"dataset {manifest.dataset}{name}, {manifest.seq_len} tokens per sample"
    )
    result.table(
        [
            "field",
            "documents",
            "tokens",
            "samples",
            "active domains",
            "effective domains",
            "effective by documents",
        ],
        [
            (f.field, f.documents, f.tokens, f.samples, f.active, f.effective, f.effective_documents)
            for f in fields
        ],
    )
    return result

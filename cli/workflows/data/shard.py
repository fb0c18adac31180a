"""From corpora to a dataset: `dmix etl shard`."""

import functools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.show.output import get_ready_to_show
from dmix.cli.show.result import Result
from dmix.cli.workflows.data.kept_out import evaluation_items
from dmix.warehouse_schema.catalog.at_end import catalog_at_end
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text, size_text

if TYPE_CHECKING:
    from dmix.etl.screening.ngrams import EvaluationItem
    from dmix.etl.shard.plan import ShardPlan
    from dmix.etl.shard.settings import ShardSettings
    from dmix.etl.spark.executors import Automatic
    from dmix.warehouse_schema.files.manifests import DatasetManifest


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
    with catalog_at_end(needed=not dry_run) as catalog:
        executor.prepare("dmix.etl.shard.shard", load=functools.partial(_load, settings))
        from dmix.etl.publishing.mirror import use_data_url
        from dmix.etl.shard.plan import plan_dataset, published_dataset, resolve_corpora

        if not dry_run:
            use_data_url(warehouse, data_url)
        items = evaluation_items(environment) if environment else ()
        if dry_run:
            corpora = resolve_corpora(warehouse.require(), corpus)
            plan = plan_dataset(warehouse, corpora=corpora, settings=settings, items=items)
            return _shard_plan_result(plan, exists=published_dataset(warehouse, plan) is not None)
        manifest, existed = make_dataset(
            warehouse, corpus=corpus, settings=settings, items=items, executor=executor, progress=progress
        )
        catalog.begin(warehouse)
        result = dataset_result(manifest, existed=existed)
        get_ready_to_show()
        catalog.end(progress)
        return result


def make_dataset(
    warehouse: Warehouse,
    *,
    corpus: Sequence[str],
    settings: "ShardSettings",
    items: "Sequence[EvaluationItem]" = (),
    executor: "Automatic",
    progress: Progress,
) -> tuple["DatasetManifest", bool]:
    """The dataset of some corpora, and whether it was there before; arguments and errors as `shard_corpora`.

    `items` are the evaluation items that are kept out of the text.
    """
    from dmix.etl.shard.plan import plan_dataset, published_dataset, resolve_corpora
    from dmix.etl.shard.shard import shard_dataset

    corpora = resolve_corpora(warehouse.require(), corpus)
    plan = plan_dataset(warehouse, corpora=corpora, settings=settings, items=items)
    found = published_dataset(warehouse, plan)
    if found is not None and not items:
        progress(f"dataset {found.dataset} exists already with these settings; nothing to do")
        return found, True
    # one that exists may not have been screened for these items
    made = shard_dataset(
        executor, warehouse, corpora=corpora, settings=settings, items=items, progress=progress
    )
    return made, found is not None


def _load(settings: "ShardSettings") -> None:
    """Loads the tokenizer into this process, if it is light; its forks then have it, too."""
    from dmix.etl.text.tokens import EMBEDDED, load_tokenizer

    if settings.tokenizer == EMBEDDED:
        load_tokenizer(EMBEDDED)


def _shard_plan_result(plan: "ShardPlan", *, exists: bool) -> Result:
    from dmix.etl.shard.plan import estimated_tokens

    estimates = estimated_tokens(plan)
    domains = [
        {
            "field": field,
            "domain": domain,
            "documents": sum(shard_input.documents for shard_input in shard_inputs),
            "text_bytes": sum(shard_input.text_bytes for shard_input in shard_inputs),
            "splits": len(shard_inputs),
            "estimated_tokens": estimates[field, domain],
            "estimated_samples": estimates[field, domain] // plan.format.seq_len,
        }
        for (field, domain), shard_inputs in plan.shard_inputs.items()
    ]
    result = Result({"dataset": plan.dataset, "exists": exists, "domains": domains}, plan)
    result.table(list(domains[0]), [list(domain.values()) for domain in domains])
    state = "exists already; there is nothing to do" if exists else "would be new"
    less = (
        ", minus the tokens of documents to leave out"
        if plan.drop_duplicates or plan.remove_contaminated
        else ""
    )
    result.line(
        f"dataset {plan.dataset} {state}: {num_text(len(plan.all_shard_inputs), 'shard input')},"
        f" {size_text(plan.text_bytes)} of text, about {num_text(sum(estimates.values()), 'token')}{less}"
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
        columns,
        rows,
        title=f"dataset {manifest.dataset}{name}, {num_text(manifest.seq_len, 'token')} per sample",
    )
    result.table(
        [
            "field",
            "documents",
            "tokens",
            "samples",
            "domains with samples",
            "effective number, by samples",
            "by documents",
        ],
        [
            (f.field, f.documents, f.tokens, f.samples, f.active, f.effective, f.effective_documents)
            for f in fields
        ],
    )
    return result

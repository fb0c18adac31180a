"""`dmix etl`: the group, and `classify`; the other commands are in `dmix.cli.commands.etl_shard`."""

from collections import Counter
from typing import TYPE_CHECKING

import click

from dmix.cli.commands import etl_distil, etl_screening, etl_shard, etl_start_state, etl_synthesize
from dmix.cli.show.options import (
    config_option,
    data_url_option,
    dry_run_option,
    executor_options,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.preflight import check_classifier, check_id_column, check_inputs
from dmix.etl.classify.settings import ClassifySettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.etl.classify.classify import CorpusOutcome
    from dmix.etl.classify.plan import CorpusPlan
    from dmix.etl.spark.executors import Automatic
    from dmix.warehouse_schema.files.manifests import CorpusVersion


class ManyPaths(click.Command):
    """A command whose `--source` and `--target` take several paths, as a shell's globs give them."""

    VARIADIC = ("--source", "--target")

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        expanded: list[str] = []
        current = None
        for argument in arguments:
            if argument.startswith("-"):
                current = argument if argument in self.VARIADIC else None
            elif current is not None and expanded[-1] != current:
                expanded.append(current)
            expanded.append(argument)
        return super().parse_args(context, expanded)


@click.group()
def etl() -> None:
    """Classify raw text and shard it into one stream per domain."""


@etl.command(cls=ManyPaths)
@config_option
@click.option(
    "--source", multiple=True, metavar="PATH…", help="Files, folders, globs or URLs of the source field."
)
@click.option(
    "--target", multiple=True, metavar="PATH…", help="Files, folders, globs or URLs of the target field."
)
@click.option(
    "--name", default="main", show_default=True, help="Makes the corpora NAME-source and NAME-target."
)
@click.option("--add", is_flag=True, help="Keep the inputs of the last versions and add these.")
@settings_options(ClassifySettings)
@executor_options
@warehouse_option
@data_url_option
@json_option
@dry_run_option
def classify(
    *,
    source: tuple[str, ...],
    target: tuple[str, ...],
    name: str,
    add: bool,
    settings: ClassifySettings,
    executor: "Automatic",
    warehouse: Warehouse,
    data_url: str | None,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Read JSON Lines, Parquet and text files and give every document its domain.

    A call states the whole input of a corpus, unless --add. What was classified before is kept:
    a call with the same inputs changes nothing, one with another file classifies that file alone.
    Documents that cannot be taken end in the view rejects, with the reason.

    Known endings: .jsonl .ndjson .json .txt .md (also with .gz .zst .bz2) and .parquet. Inputs may be
    remote: s3://bucket/folder, gs:// or hdfs://.

    Example: dmix etl classify --source books/ --target papers/*.jsonl.gz --warehouse w
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
    from dmix.warehouse_schema.catalog.catalog import sync

    if not dry_run:
        use_data_url(warehouse, data_url)
    requests = job.field_requests(
        warehouse, {"source": source, "target": target}, name=name, add=add, settings=settings
    )
    if dry_run:
        plans = plan_corpora(executor, warehouse, requests, settings=settings, progress=say)
        show_json([_plan_json(plan) for plan in plans]) if as_json else _show_plans(plans)
        return
    outcomes = job.classify_corpora(executor, warehouse, requests, settings=settings, progress=say)
    sync(warehouse)
    show_json([_outcome_json(outcome) for outcome in outcomes]) if as_json else _show_outcomes(outcomes)


_MOST_SKIPPED = 20


def _skipped(plan: "CorpusPlan") -> None:
    if plan.skipped:
        shown = list(plan.skipped.items())[:_MOST_SKIPPED]
        listed = ", ".join(f"{what} {count:,}" for what, count in shown)
        more = len(plan.skipped) - len(shown)
        say(f"{plan.request.corpus}: files left out: {listed}{f' and {more:,} more kinds' if more else ''}")


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


def _show_plans(plans: "list[CorpusPlan]") -> None:
    rows = []
    for plan in plans:
        _skipped(plan)
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
    show_table(
        ("corpus", "files", "bytes", "formats", "parts kept", "parts to do", "bytes to do"),
        rows,
        title="what would be done",
    )


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


def _show_outcomes(outcomes: "list[CorpusOutcome]") -> None:
    """Per-domain counts side by side, then what was rejected, then one line per corpus."""
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
    show_table(columns, rows, title="documents")
    rejects = [
        (outcome.version.corpus, reason, count)
        for outcome in outcomes
        for reason, count in _rejected(outcome).items()
    ]
    if rejects:
        show_table(("corpus", "reason", "documents"), rejects, title="rejected")
    for outcome in outcomes:
        _skipped(outcome.plan)
        version, plan = outcome.version, outcome.plan
        state = "published" if outcome.published else "unchanged"
        say(
            f"{version.corpus} v{version.version} {state}: {version.documents:,} documents,"
            f" {version.rejected:,} rejected; {len(plan.to_do)} parts made, {len(plan.kept)} kept"
        )
        asked = _asked(version)
        if asked:
            share = asked / max(1, version.documents + version.rejected)
            say(f"{version.corpus}: {asked:,} documents ({share:.1%}) were unsure and sent to the fallback")


for command in (
    etl_distil.distil,
    etl_screening.duplicates,
    etl_screening.contamination,
    etl_shard.shard,
    etl_start_state.start_state,
    etl_synthesize.synthesize,
    etl_shard.verify,
    etl_shard.gc,
):
    etl.add_command(command)

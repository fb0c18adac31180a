"""`dmix etl distil`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dmix.cli.commands.etl_screening import corpora_option
from dmix.cli.show.options import (
    config_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.etl.distilling.settings import DistilSettings
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.etl.distilling.distil import DistilReport


@click.command()
@config_option
@warehouse_option
@click.option("--name", required=True, help="Name of the classifier; use it as distilled:NAME.")
@corpora_option
@settings_options(DistilSettings)
@json_option
@dry_run_option
def distil(
    *,
    warehouse: Warehouse,
    name: str,
    corpus: tuple[str, ...],
    settings: DistilSettings,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Train a fast classifier on another classifier's labels, and measure how well they agree.

    The teacher is the classifier that labelled the corpora. Afterwards `dmix etl classify --classifier
    distilled:NAME` labels the rest at the speed of the embedded classifier. With `--fallback nvidia
    --margin 0.2`, the teacher still labels the unsure documents.

    Example: dmix etl distil --name fast
    """
    from dmix.etl.shard.plan import resolve_corpora

    corpora = resolve_corpora(warehouse.require(), corpus)
    from dmix.etl.distilling.distil import distil as make

    if dry_run:
        drawn: dict[str, int] = {}
        for version in corpora:
            for label, documents in version.domain_documents().items():
                drawn[label] = min(settings.documents_per_label, drawn.get(label, 0) + documents)
        if as_json:
            show_json({"name": name, "documents": drawn})
        else:
            show_table(("domain", "documents to be drawn"), list(drawn.items()))
        return
    report = make(warehouse, name=name, corpora=corpora, settings=settings, progress=say)
    if as_json:
        show_json(asdict(report))
    else:
        _show(report)


def _show(report: "DistilReport") -> None:
    show_table(
        ("domain", "held-out documents", "agreement", "precision"),
        [(row.domain, row.documents, row.agreement, row.precision) for row in report.domains],
        title=f"agreement with {', '.join(report.teacher)}",
    )
    show_table(
        ("--margin", "share sent to the fallback", "agreement of the rest", "agreement of both"),
        [(row.margin, row.sent, row.kept_agreement, row.agreement) for row in report.margins],
        title="with the teacher as fallback",
    )
    say(
        f"{report.name}: learned from {report.training_documents:,} documents, agrees on"
        f" {report.agreement:.1%} of all (estimated from {report.held_out_documents:,} held-out ones); use"
        f" --classifier distilled:{report.name}"
    )

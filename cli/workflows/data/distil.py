"""A fast classifier from another one's labels: `dmix etl distil`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.etl.distilling.distil import DistilReport
    from dmix.etl.distilling.settings import DistilSettings


def distil_classifier(
    warehouse: Warehouse,
    *,
    name: str,
    corpus: Sequence[str] = (),
    settings: "DistilSettings",
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Trains a fast classifier on another one's labels; the result's value is the report.

    Args:
        warehouse: Where the corpora are and the classifier goes.
        name: Name of the classifier; it is used as `distilled:NAME`.
        corpus: Names of corpora, `NAME[@vK]`; may be empty if there is one pair.
        settings: How many documents it learns from.
        dry_run: Count the documents to draw, and write nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If a corpus does not exist.
        InputError: If the corpora have too few documents, or the name cannot be a folder.
    """
    from dmix.etl.shard.plan import resolve_corpora

    corpora = resolve_corpora(warehouse.require(), corpus)
    from dmix.etl.distilling.distil import distil

    if not dry_run:
        return _report_result(
            distil(warehouse, name=name, corpora=corpora, settings=settings, progress=progress)
        )
    drawn: dict[str, int] = {}
    for version in corpora:
        for label, documents in version.domain_documents().items():
            drawn[label] = min(settings.documents_per_label, drawn.get(label, 0) + documents)
    result = Result({"name": name, "documents": drawn})
    result.table(("domain", "documents to draw"), list(drawn.items()))
    return result


def _report_result(report: "DistilReport") -> Result:
    result = Result(asdict(report), report)
    result.table(
        ("domain", "held-out documents", "agreement", "precision"),
        [(row.domain, row.documents, row.agreement, row.precision) for row in report.domains],
        title=f"agreement with {', '.join(report.teacher)}",
    )
    result.table(
        ("--margin", "share labelled by the fallback", "agreement of the rest", "agreement of both together"),
        [(row.margin, row.sent, row.kept_agreement, row.agreement) for row in report.margins],
        title="with the teacher as fallback",
    )
    result.line(
        f"{report.name}: trained on {num_text(report.training_documents, 'document')}. It agrees with the "
        "teacher "
        f"on {report.agreement:.1%} of documents, estimated from {report.held_out_documents:,} held-out "
        f"documents. Use --classifier distilled:{report.name}"
    )
    return result

"""`dmix etl distil`: a fast classifier that gives the labels of a slow one, or of any other.

The labels of corpus versions, whoever gave them, teach a linear model over hashed words
(`dmix.etl.classifiers.linear`). The sample has at most so many documents of each label; eight tenths
of it train, one sets the temperature, one is held out for the figures. A model that was trained on
labels drawn alike is told how common each is by a bias of log(share in the corpora / share in the
sample), which turns its posterior into that of the corpora (Saerens et al. 2002).

A classifier lies in `classifiers/<name>/`: `model.safetensors`, and `report.json`, written last.
"""

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.etl.classifiers.embedded import most_probable
from dmix.etl.classifiers.linear import LinearModel
from dmix.etl.classifiers.registry import WEIGHTS_NAME
from dmix.etl.classifiers.softmax import softmax
from dmix.etl.distilling.agreement import (
    DomainAgreement,
    MarginAgreement,
    domain_agreements,
    margin_agreements,
    weighted_agreement,
)
from dmix.etl.distilling.labelled_sample import PARTS, LabelledSample, draw_sample, label_counts
from dmix.etl.distilling.linear_training import (
    FeatureRows,
    TrainingSettings,
    cooled,
    fit_temperature,
    train_linear,
)
from dmix.etl.distilling.settings import DistilSettings
from dmix.etl.publishing.publish import attempt_folder
from dmix.etl.publishing.shard_inputs import check_label_files
from dmix.etl.screening.screening import corpus_names
from dmix.etl.text.tokens import EMBEDDED, load_tokenizer
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import (
    Warehouse,
    publish_json,
    read_json,
    write_errors,
)
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import CorpusVersion, content_digest
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.taxonomy import Taxonomy

VERSION = 1
"""Part of the fingerprint; one more for every change of the weights that come out."""

MOST_LABELS = 512
"""The weights of so many labels, and what trains them, take some 1 GB."""

FEWEST_DOCUMENTS = 500
HELD_OUT, CALIBRATION = 0, 1
_NEVER = -1e4
"""Bias of a label that no training document has."""

_CHUNK = 4096


@dataclass(frozen=True, kw_only=True)
class DistilReport:
    """What a distilled classifier is, and how well it agrees with its teacher on held-out documents.

    Attributes:
        name: It is used as `distilled:<name>`.
        fingerprint: Hash of everything that its weights follow from.
        teacher: The classifiers that gave the labels.
        corpora: Where the labels are, as `name@vK`.
        taxonomy: Name of the labels' taxonomy.
        training_documents: Documents that it learned from.
        held_out_documents: Documents that the figures are of.
        temperature: What its logits were divided by.
        agreement: Share of the corpora's documents that get the teacher's label, estimated.
        domains: The same for each label.
        margins: The same if the teacher is asked about low margins.
    """

    name: str
    fingerprint: str
    teacher: tuple[str, ...]
    corpora: tuple[str, ...]
    taxonomy: str
    training_documents: int
    held_out_documents: int
    temperature: float
    agreement: float
    domains: tuple[DomainAgreement, ...]
    margins: tuple[MarginAgreement, ...]


def distil(
    warehouse: Warehouse,
    *,
    name: str,
    corpora: Sequence[CorpusVersion],
    settings: DistilSettings,
    progress: Progress,
) -> DistilReport:
    """Makes a classifier, or finds it made.

    Raises:
        InputError: If the corpora have different labels or too few documents, or the name is taken by a
            classifier of other labels or settings.
        NotFoundError: If a label file is missing.
        VerificationError: If one is damaged.
        LockHeldError: If another process makes it.
        StorageError: If the disk is full or refuses.
    """
    taxonomy = _shared_taxonomy(corpora)
    fingerprint = distil_fingerprint(corpora, settings)
    folder = warehouse.classifier(name)
    with held_lock(warehouse.lock_of("classifier", name), what=f"classifier {name}", of_job=True):
        refuse_links(folder)
        known = find_report(folder)
        if known is not None:
            if known.fingerprint != fingerprint:
                raise InputError(
                    f"classifier {name!r} exists already, made from {', '.join(known.corpora)} with "
                    "other inputs or settings; choose another --name"
                )
            progress(f"classifier {name} exists already with these settings; nothing to do")
            return known
        check_label_files(warehouse, corpora)
        progress(f"drawing documents from {', '.join(corpus_names(corpora))}")
        sample = draw_sample(
            warehouse,
            corpora,
            taxonomy=taxonomy,
            documents_per_label=settings.documents_per_label,
            seed=settings.seed,
            tokenizer=load_tokenizer(EMBEDDED),
        )
        _check_sample(sample)
        progress(
            f"training on {num_text(len(sample.labels_N), 'document')} of "
            f"{num_text(len(np.unique(sample.labels_N)), 'label')}"
        )
        model, temperature = train_student(
            sample, taxonomy=taxonomy, counts=label_counts(corpora, taxonomy), settings=settings
        )
        report = judged(
            model,
            sample,
            label_counts(corpora, taxonomy),
            name=name,
            fingerprint=fingerprint,
            teacher=tuple(dict.fromkeys(corpus.classifier for corpus in corpora)),
            corpora=corpus_names(corpora),
            temperature=round(temperature, 4),
        )
        _publish(folder, model, report)
    return report


def distil_fingerprint(corpora: Sequence[CorpusVersion], settings: DistilSettings) -> str:
    """Hash of everything that the weights follow from."""
    return digest_of([VERSION, [content_digest(corpus) for corpus in corpora], dataclasses.asdict(settings)])


def find_report(folder: Path) -> DistilReport | None:
    """The report of a finished classifier; None if there is none.

    Raises:
        InputError: If it is damaged.
    """
    try:
        value: dict[str, Any] = read_json(folder / "report.json")
    except NotFoundError:
        return None
    try:
        return DistilReport(
            **{
                **value,
                **{name: tuple(value[name]) for name in ("teacher", "corpora")},
                "domains": tuple(DomainAgreement(**row) for row in value["domains"]),
                "margins": tuple(MarginAgreement(**row) for row in value["margins"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / 'report.json'} is damaged ({error!r}); remove {folder}") from None


def train_student(
    sample: LabelledSample, *, taxonomy: Taxonomy, counts: NDArray[np.int64], settings: DistilSettings
) -> tuple[LinearModel, float]:
    """(the model, its temperature) of a sample; its held-out part is not looked at.

    Args:
        sample: Labelled documents.
        taxonomy: What their labels count in.
        counts: Documents of each label in the corpora, shape (labels,).
        settings: How to train.
    """
    train = sample.of_parts(range(CALIBRATION + 1, PARTS))
    rows, labels_N = sample.features.take(train), sample.labels_N[train]
    model = train_linear(
        rows, labels_N, taxonomy=taxonomy, shares=rows.document_shares(), settings=_training(settings)
    )
    calibration = sample.of_parts([CALIBRATION])
    temperature = fit_temperature(
        _logits(model, sample.features.take(calibration)), sample.labels_N[calibration]
    )
    model = cooled(model, temperature)
    drawn = np.bincount(labels_N, minlength=len(taxonomy))
    with np.errstate(divide="ignore", invalid="ignore"):
        bias = np.log(counts / counts.sum()) - np.log(drawn / drawn.sum())
    bias = np.where(drawn > 0, bias, _NEVER).astype(np.float32)
    return dataclasses.replace(model, bias=bias), temperature


def judged(
    model: LinearModel, sample: LabelledSample, counts: NDArray[np.int64], **facts: Any
) -> DistilReport:
    """The report on a model, from the held-out part of a sample.

    Args:
        model: What is judged.
        sample: Labelled documents.
        counts: Documents of each label in the corpora, shape (labels,).
        facts: The other entries of the report.
    """
    held_out = sample.of_parts([HELD_OUT])
    labels_N = sample.labels_N[held_out]
    probabilities = softmax(_logits(model, sample.features.take(held_out)))
    found = most_probable(np.round(probabilities, 4))
    drawn = np.bincount(labels_N, minlength=len(counts))
    weights_N = (counts / np.maximum(drawn, 1))[labels_N]
    agree_N = found.index == labels_N
    return DistilReport(
        taxonomy=model.taxonomy.name,
        training_documents=len(sample.of_parts(range(CALIBRATION + 1, PARTS))),
        held_out_documents=len(held_out),
        agreement=weighted_agreement(agree_N, weights_N),
        domains=domain_agreements(labels_N, found.index, weights_N, model.taxonomy),
        margins=margin_agreements(agree_N, found.margin, weights_N),
        **facts,
    )


def _training(settings: DistilSettings) -> TrainingSettings:
    """How a student is trained: closer to its teacher than the shipped model may be to its weak labels."""
    return TrainingSettings(
        epochs=settings.epochs,
        seed=settings.seed,
        learning_rate=0.02,
        correction_rarity=(0.9, 0.2),
        mass_rarity=(0.9, 0.01),
    )


def _logits(model: LinearModel, rows: FeatureRows) -> NDArray[np.float32]:
    parts = [np.empty((0, len(model.taxonomy)), np.float32)]
    for start in range(0, len(rows), _CHUNK):
        chunk = rows.take(np.arange(start, min(start + _CHUNK, len(rows))))
        parts.append(model.logits(chunk.features, chunk.offsets))
    return np.concatenate(parts)


def _shared_taxonomy(corpora: Sequence[CorpusVersion]) -> Taxonomy:
    if not corpora:
        raise InputError("there is no corpus; give at least one with --corpus")
    taxonomy = corpora[0].taxonomy
    for corpus in corpora:
        if corpus.taxonomy != taxonomy:
            raise InputError(
                f"corpora {corpora[0].corpus!r} and {corpus.corpus!r} have different labels "
                f"({taxonomy.name!r}, {corpus.taxonomy.name!r}); use corpora of one taxonomy"
            )
    if len(taxonomy) > MOST_LABELS:
        raise InputError(
            f"taxonomy {taxonomy.name!r} has {len(taxonomy):,} labels, expected at most {MOST_LABELS}; "
            "use corpora with fewer labels"
        )
    return taxonomy


def _check_sample(sample: LabelledSample) -> None:
    labels = len(np.unique(sample.labels_N))
    if len(sample.labels_N) < FEWEST_DOCUMENTS or labels < 2:
        raise InputError(
            f"the corpora give only {num_text(len(sample.labels_N), 'document')} with "
            f"{num_text(labels, 'label')}, expected at least {FEWEST_DOCUMENTS} documents with 2 labels; "
            "classify more documents, or raise --documents-per-label"
        )


def _publish(folder: Path, model: LinearModel, report: DistilReport) -> None:
    """Makes the classifier appear; the report, which says that it is there, comes last."""
    with write_errors(folder), attempt_folder(folder) as attempt:
        model.save(attempt / WEIGHTS_NAME)
        (attempt / WEIGHTS_NAME).replace(folder / WEIGHTS_NAME)
        publish_json(folder / "report.json", dataclasses.asdict(report))
    shutil.rmtree(folder / ".staging", ignore_errors=True)

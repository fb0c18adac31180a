"""The start state of a model whose training data nobody has: what it writes, classified.

Documents are written in blocks from the start token, and classified. After every block the
bootstrap bound of the KL is computed for all documents so far; the first block at which it is
small enough is the last one that counts, however many were written at once. So the estimate
depends on the model, the settings and the seed alone.

Document shares do not depend on the length cap; token shares do, since a long document counts
with its first tokens only. Documents without text have no domain and are left out.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dmix.etl.classifiers import ClassifierSpec, classifier_spec, make_classifier
from dmix.etl.synthetic.blocks import BlockFile, block_facts, block_name, finished_blocks, read_blocks
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.generation_tasks import GenerationJob, write_generated_block
from dmix.etl.synthetic.memory import check_memory, free_memory, memory_need
from dmix.etl.synthetic.model_shares import (
    ShareIntervals,
    divergence,
    divergence_bound,
    share_intervals,
    shares,
    smoothed_shares,
)
from dmix.etl.synthetic.source_models import SourceModel, check_engine, source_model
from dmix.etl.synthetic.start_state_settings import StartStateSettings
from dmix.etl.synthetic.synthesize import Runner, check_same_generation, generation_digest
from dmix.etl.tasks import Progress
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.layout import Warehouse, publish_json
from dmix.warehouse_schema.locks import held_lock
from dmix.warehouse_schema.manifests import DatasetManifest
from dmix.warehouse_schema.taxonomy import Taxonomy

ESTIMATE = "estimate.json"
FORMAT = 1
NO_TEXT = -1


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """How far the estimate had come after some documents.

    Attributes:
        documents: Documents with text so far.
        divergence: KL(shares so far || shares at the end), in nats.
        divergence_bound: The bootstrap bound that the stop rule looks at.
        divergence_to_corpus: KL(shares so far || document shares of the dataset's source field);
            None without such a dataset. Half a document is added to every domain of the latter.
    """

    documents: int
    divergence: float
    divergence_bound: float
    divergence_to_corpus: float | None


@dataclass(frozen=True, kw_only=True)
class DomainEstimate:
    """One domain of an estimated start state; weights in [0, 1], with the ends of their intervals."""

    domain: str
    documents: int
    tokens: int
    document_weight: float
    document_low: float
    document_high: float
    token_weight: float
    token_low: float
    token_high: float


@dataclass(frozen=True, kw_only=True)
class StartStateEstimate:
    """A start state that a model told.

    Attributes:
        name: Of the estimate; the catalog's estimator is `model:<name>`.
        model: Folder or hub id.
        digest: Hash of all that the documents depend on.
        dataset: Dataset that it is compared with; None for none.
        classifier: What gave the domains.
        taxonomy: Its labels.
        seed: Of the documents.
        max_tokens: Length cap of a document.
        generated: Documents written and counted.
        empty: Those of them without text.
        capped: Those of them that the cap ended.
        kl_bound: What was asked for.
        confidence: Of the bound and the intervals.
        divergence_bound: What was reached.
        converged: Whether it is small enough; False if `max_documents` came first.
        domains: In the order of the taxonomy.
        curve: One point a block.
        blocks: Files of the blocks that count, in their order.
        created_at: ISO 8601, UTC.
    """

    name: str
    model: str
    digest: str
    dataset: str | None
    classifier: str
    taxonomy: Taxonomy
    seed: int
    max_tokens: int
    generated: int
    empty: int
    capped: int
    kl_bound: float
    confidence: float
    divergence_bound: float
    converged: bool
    domains: tuple[DomainEstimate, ...]
    curve: tuple[CurvePoint, ...]
    blocks: tuple[BlockFile, ...]
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def documents(self) -> int:
        """Documents that the shares rest on."""
        return self.generated - self.empty


@dataclass(frozen=True, kw_only=True)
class StartStatePlan:
    """An estimation that was found to be possible; nothing is written.

    Attributes:
        name: Of the estimate.
        model: The model.
        job: What all blocks share.
        lock: Held while it is made.
        settings: When to stop.
        classifier: What gives the domains.
        taxonomy: Its labels.
        manifest: Dataset to compare with.
    """

    name: str
    model: SourceModel
    job: GenerationJob
    lock: Path
    settings: StartStateSettings
    classifier: ClassifierSpec
    taxonomy: Taxonomy
    manifest: DatasetManifest | None


def plan_start_state(
    warehouse: Warehouse,
    model: str,
    *,
    name: str,
    settings: StartStateSettings,
    generation: GenerationSettings,
    manifest: DatasetManifest | None = None,
    processes: int = 1,
) -> StartStatePlan:
    """What `estimate_start_state` would do.

    Args:
        warehouse: Where the estimate goes.
        model: Folder or hub id.
        name: Of the estimate.
        settings: When to stop.
        generation: How the model writes.
        manifest: Dataset to compare with, of the classifier's labels.
        processes: How many processes of this machine will load the model.

    Raises:
        InputError: If the model cannot write or does not fit into memory, the classifier needs
            labels that no model writes, the dataset has others, or another generation is there.
        NotFoundError: If there is no such model or classifier.
        MissingDependencyError: If the engine is not installed.
    """
    if settings.classifier.startswith("column"):
        raise InputError(
            f"classifier {settings.classifier!r} reads labels that a model does not write; use embedded or"
            " nvidia"
        )
    spec = classifier_spec(settings.classifier, taxonomy=None)
    taxonomy = make_classifier(spec).taxonomy
    assert taxonomy is not None
    if manifest is not None and manifest.taxonomy.labels != taxonomy.labels:
        raise InputError(
            f"dataset {manifest.dataset} has taxonomy {manifest.taxonomy.name!r}, classifier"
            f" {settings.classifier!r} gives {taxonomy.name!r}; leave --dataset out, or choose another one"
        )
    check_engine(generation)
    found = source_model(model, generation)
    if generation.engine == "transformers":
        need = memory_need(found, generation)
        check_memory(found, need, available=free_memory(), copies=processes)
    job = GenerationJob(
        model=model,
        settings=generation,
        quality=None,
        digest=generation_digest(found, generation, None),
        folder=warehouse.model_start_state(name),
    )
    check_same_generation(job.folder, job)
    return StartStatePlan(
        name=name,
        model=found,
        job=job,
        lock=warehouse.start_state_lock(name),
        settings=settings,
        classifier=spec,
        taxonomy=taxonomy,
        manifest=manifest,
    )


def estimate_start_state(plan: StartStatePlan, *, run: Runner, progress: Progress) -> StartStateEstimate:
    """Writes and classifies as many documents as the bound needs, and publishes the estimate.

    Args:
        plan: From `plan_start_state`.
        run: Runs one task a block.
        progress: Told what happens, a line at a time.

    Raises:
        LockHeldError: If another process makes the same estimate.
        InputError: If no document has text.
        StorageError: If the disk is full or refuses.
    """
    folder = plan.job.folder
    with held_lock(plan.lock, what=f"start state {plan.name}"):
        domains: list[NDArray[np.int64]] = []
        stop = None
        while stop is None:
            wave = range(len(domains), len(domains) + _blocks_to_go(domains, plan))
            domains += _written(wave, plan, run=run, progress=progress)
            stop = _blocks_that_suffice(domains, plan)
            counts = _counts(domains, plan.taxonomy)
            bound = _bound(counts, plan)
            progress(f"{counts.sum():,} documents, KL bound {bound:.4f} (wanted {plan.settings.kl_bound:g})")
        estimate = _estimate(domains[:stop], plan)
        value = {"format": FORMAT, **asdict(estimate)}
        publish_json(folder / ESTIMATE, value)
    return estimate


def _written(
    numbers: Sequence[int], plan: StartStatePlan, *, run: Runner, progress: Progress
) -> list[NDArray[np.int64]]:
    """Domain of every document of some blocks, which are written if they are not there."""
    missing = sorted(set(numbers) - set(finished_blocks(plan.job.folder)))
    if missing:
        progress(f"writing {len(missing)} blocks of {plan.job.settings.block_documents} documents")
        run(functools.partial(write_generated_block, job=plan.job), missing)
    label = functools.partial(label_block, folder=plan.job.folder, classifier=plan.classifier)
    return [np.array(found, np.int64) for found in run(label, list(numbers))]


def label_block(number: int, folder: Path, classifier: ClassifierSpec) -> list[int]:
    """Index of the domain of each document of a block, `NO_TEXT` for those without text."""
    texts = read_blocks(folder, [number])["text"].to_pylist()
    index = make_classifier(classifier).classify(texts, {}).index
    return [int(found) if text.strip() else NO_TEXT for text, found in zip(texts, index, strict=True)]


def _blocks_to_go(domains: Sequence[NDArray[np.int64]], plan: StartStatePlan) -> int:
    """How many more blocks the bound will take, which falls with one over the documents."""
    size, settings = plan.job.settings.block_documents, plan.settings
    if not domains:
        return math.ceil(settings.min_documents / size)
    bound = _bound(_counts(domains, plan.taxonomy), plan)
    growth = min(4.0, bound / settings.kl_bound)
    most = math.ceil(settings.max_documents / size)
    return max(1, min(most, math.ceil(len(domains) * growth)) - len(domains))


def _blocks_that_suffice(domains: Sequence[NDArray[np.int64]], plan: StartStatePlan) -> int | None:
    """The first number of blocks that is enough; None if there are not yet enough."""
    size, settings = plan.job.settings.block_documents, plan.settings
    for count in range(math.ceil(settings.min_documents / size), len(domains) + 1):
        if count * size >= settings.max_documents:
            return count
        if _bound(_counts(domains[:count], plan.taxonomy), plan) <= settings.kl_bound:
            return count
    return None


def _bound(counts: NDArray[np.int64], plan: StartStatePlan) -> float:
    return divergence_bound(counts, confidence=plan.settings.confidence, seed=plan.job.settings.seed)


def _counts(domains: Sequence[NDArray[np.int64]], taxonomy: Taxonomy) -> NDArray[np.int64]:
    found = np.concatenate([np.zeros(0, np.int64), *domains])
    return np.bincount(found[found != NO_TEXT], minlength=len(taxonomy))


def _estimate(domains: Sequence[NDArray[np.int64]], plan: StartStatePlan) -> StartStateEstimate:
    numbers = range(len(domains))
    domains_D, tokens_D = (
        np.concatenate(list(domains)),
        read_blocks(plan.job.folder, numbers)["tokens"].to_numpy().astype(np.int64),
    )
    told = domains_D != NO_TEXT
    if not told.any():
        raise InputError(
            f"model {plan.job.model!r} wrote {len(told):,} documents, none of them with text; check that it"
            " is trained, or name another --start-token"
        )
    found = share_intervals(
        domains_D[told],
        tokens_D[told],
        num_domains=len(plan.taxonomy),
        confidence=plan.settings.confidence,
        seed=plan.job.settings.seed,
    )
    counts = _counts(domains, plan.taxonomy)
    bound = _bound(counts, plan)
    facts = [block_facts(plan.job.folder / block_name(number)) for number in numbers]
    return StartStateEstimate(
        name=plan.name,
        model=plan.job.model,
        digest=plan.job.digest,
        dataset=plan.manifest.dataset if plan.manifest else None,
        classifier=plan.classifier.name,
        taxonomy=plan.taxonomy,
        seed=plan.job.settings.seed,
        max_tokens=plan.model.max_tokens,
        generated=len(told),
        empty=int((~told).sum()),
        capped=sum(fact.capped for fact in facts if fact),
        kl_bound=plan.settings.kl_bound,
        confidence=plan.settings.confidence,
        divergence_bound=bound,
        converged=bound <= plan.settings.kl_bound,
        domains=_domain_estimates(plan.taxonomy, counts, found, domains_D[told], tokens_D[told]),
        curve=tuple(_curve(domains, plan)),
        blocks=tuple(BlockFile.of(plan.job.folder / block_name(number)) for number in numbers),
    )


def _domain_estimates(
    taxonomy: Taxonomy,
    counts: NDArray[np.int64],
    found: ShareIntervals,
    domains_D: NDArray[np.int64],
    tokens_D: NDArray[np.int64],
) -> tuple[DomainEstimate, ...]:
    tokens = np.bincount(domains_D, weights=tokens_D, minlength=len(taxonomy))
    return tuple(
        DomainEstimate(
            domain=label,
            documents=int(counts[i]),
            tokens=int(tokens[i]),
            document_weight=float(found.documents[i]),
            document_low=float(found.documents_low[i]),
            document_high=float(found.documents_high[i]),
            token_weight=float(found.tokens[i]),
            token_low=float(found.tokens_low[i]),
            token_high=float(found.tokens_high[i]),
        )
        for i, label in enumerate(taxonomy.labels)
    )


def _curve(domains: Sequence[NDArray[np.int64]], plan: StartStatePlan) -> list[CurvePoint]:
    final = shares(_counts(domains, plan.taxonomy))
    corpus = _corpus_shares(plan.manifest)
    points = []
    for count in range(1, len(domains) + 1):
        counts = _counts(domains[:count], plan.taxonomy)
        if not counts.sum():
            continue
        points.append(
            CurvePoint(
                documents=int(counts.sum()),
                divergence=divergence(shares(counts), final),
                divergence_bound=_bound(counts, plan),
                divergence_to_corpus=None if corpus is None else divergence(shares(counts), corpus),
            )
        )
    return points


def _corpus_shares(manifest: DatasetManifest | None) -> NDArray[np.float64] | None:
    """Document shares of a dataset's source field, none of them 0; None without source documents."""
    if manifest is None:
        return None
    counts = np.array([stream.documents for stream in manifest.streams if stream.field == "source"])
    return smoothed_shares(counts) if counts.sum() else None

"""The start state of a model whose training data nobody has: what it writes, classified.

Documents are written in blocks from the start token, and classified. After every block the
bootstrap bound of the KL is computed for all documents so far; the first block at which it is
small enough is the last one that counts, however many were written at once. So the estimate
depends on the model, the settings and the seed alone.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dmix.etl.classifiers.registry import ClassifierSpec, make_classifier
from dmix.etl.synthetic.blocks import read_blocks
from dmix.etl.synthetic.start_state.estimate import (
    NO_TEXT,
    StartStateEstimate,
    domain_counts,
    make_estimate,
    sampling_bound,
)
from dmix.etl.synthetic.start_state.plan import StartStatePlan
from dmix.etl.synthetic.synthesize import Runner, write_missing
from dmix.warehouse_schema.files.layout import publish_json
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

ESTIMATE = "estimate.json"
FORMAT = 1


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
    with held_lock(plan.lock, what=f"start state {plan.name}", of_job=True):
        refuse_links(folder)
        domains: list[NDArray[np.int64]] = []
        stop = None
        while stop is None:
            wave = range(len(domains), len(domains) + _blocks_to_go(domains, plan))
            domains += _written(wave, plan, run=run, progress=progress)
            stop = _blocks_that_suffice(domains, plan)
            counts = domain_counts(domains, plan.taxonomy)
            bound = sampling_bound(counts, plan)
            progress(
                f"{num_text(int(counts.sum()), 'document')}, KL bound {bound:.4f} "
                f"(wanted {plan.settings.kl_bound:g})"
            )
        estimate = make_estimate(domains[:stop], plan)
        value = {"format": FORMAT, **asdict(estimate)}
        publish_json(folder / ESTIMATE, value)
    return estimate


def _written(
    numbers: Sequence[int], plan: StartStatePlan, *, run: Runner, progress: Progress
) -> list[NDArray[np.int64]]:
    """Domain of every document of some blocks, which are written if they are not there."""
    write_missing(numbers, plan.job.folder, plan.job, run=run, progress=progress)
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
    bound = sampling_bound(domain_counts(domains, plan.taxonomy), plan)
    growth = min(4.0, bound / settings.kl_bound)
    most = math.ceil(settings.max_documents / size)
    return max(1, min(most, math.ceil(len(domains) * growth)) - len(domains))


def _blocks_that_suffice(domains: Sequence[NDArray[np.int64]], plan: StartStatePlan) -> int | None:
    """The first number of blocks that is enough; None if there are not yet enough."""
    size, settings = plan.job.settings.block_documents, plan.settings
    for count in range(math.ceil(settings.min_documents / size), len(domains) + 1):
        if count * size >= settings.max_documents:
            return count
        if sampling_bound(domain_counts(domains[:count], plan.taxonomy), plan) <= settings.kl_bound:
            return count
    return None

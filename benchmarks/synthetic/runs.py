"""Documents that the models of the study write, and how far their shares are from the truth."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.synthetic.text import PIECE_TOKENS
from numpy.typing import NDArray

from dmix.etl.classifiers.embedded import EmbeddedClassifier
from dmix.etl.synthetic.blocks import finished_blocks, read_blocks
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.generation_tasks import GenerationJob, write_generated_block
from dmix.etl.synthetic.start_state.shares import divergence, shares, smoothed_shares
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY

BLOCK = 250
NUMBERS = (100, 300, 1000, 2000, 3000)
NO_TEXT = -1


def written_domains(
    model: Path, work: Path, *, seed: int, documents: int, progress: Callable[[str], None]
) -> NDArray[np.int32]:
    """Domains of the first documents that a model writes under a seed, `NO_TEXT` for empty ones.

    Every block is a unit that stays in `work`, and so are the domains of all of them.
    """
    stored = work / f"{model.name}-{seed}.parquet"
    if stored.is_file():
        return np.asarray(pq.read_table(stored)["domain"].to_numpy())
    folder = work / f"{model.name}-{seed}"
    settings = GenerationSettings(seed=seed, max_tokens=PIECE_TOKENS, block_documents=BLOCK)
    job = GenerationJob(model=str(model), settings=settings, quality=None, digest=model.name, folder=folder)
    numbers = range(-(-documents // BLOCK))
    for number in sorted(set(numbers) - set(finished_blocks(folder))):
        cost = write_generated_block(number, job)
        progress(f"{model.name}, seed {seed}: block {number + 1} of {len(numbers)}, {cost['seconds']:.0f} s")
    table = read_blocks(folder, numbers)
    texts = table["text"].to_pylist()
    domain = np.where([bool(t.strip()) for t in texts], EmbeddedClassifier().classify(texts).index, NO_TEXT)
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table(
            {
                "index": table["index"],
                "tokens": table["tokens"],
                "ended": table["ended"],
                "domain": domain.astype(np.int32),
                "text": table["text"],
            }
        ),
        sink,
        compression="zstd",
    )
    publish_bytes(stored, sink.getvalue().to_pybytes())
    return domain.astype(np.int32)


def drawn_domains(counts: NDArray[np.int64], *, seed: int, documents: int) -> NDArray[np.int32]:
    """Domains of documents drawn from the training text itself: what a perfect model would give."""
    rng = np.random.default_rng(seed)
    return rng.choice(len(counts), size=documents, p=shares(counts)).astype(np.int32)


def curve(domains: NDArray[np.int32], truth: NDArray[np.int64]) -> list[dict[str, float]]:
    """Distances to the truth of the first documents, for each of `NUMBERS`.

    `kl` is KL(estimate || truth), `kl_reverse` KL(truth || estimate), where half a document was
    added to every domain of what must not be 0; `total_variation` is half the sum of differences.
    """
    rows = []
    for number in NUMBERS:
        seen = domains[:number][domains[:number] != NO_TEXT]
        counts = np.bincount(seen, minlength=len(DEFAULT_TAXONOMY))
        rows.append(
            {
                "documents": number,
                "kl": divergence(shares(counts), smoothed_shares(truth)),
                "kl_reverse": divergence(shares(truth), smoothed_shares(counts)),
                "total_variation": float(np.abs(shares(counts) - shares(truth)).sum() / 2),
            }
        )
    return rows


@functools.cache
def texts_of(stored: Path, number: int) -> list[str]:
    """The first texts of a run."""
    return list(pq.read_table(stored)["text"].to_pylist()[:number])

"""Speed of the embedded classifier and of its tokenizer, on one core.

    OMP_NUM_THREADS=1 python benchmarks/classifier.py --data DIR [--out FILE.json]

Reads the reference corpora below DIR into memory, then classifies them in batches of 1,000
documents. Figures are megabytes of UTF-8 text a second of processor time (all threads added up, so
that a hidden second thread would show) and of wall-clock time, best of three passes.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from benchmarks.make_assets.reference_corpora import read_reference

from dmix.etl.classifiers.embedded import EmbeddedClassifier
from dmix.etl.text.token_engines import (
    encoder_json,
    fastokens_engine,
    gigatoken_engine,
    special_tokens,
    tokenizers_engine,
)
from dmix.etl.text.tokens import load_tokenizer

BATCH = 1_000
REPEATS = 3
REFERENCE_DOCUMENTS = 1_000
"""The reference engine is slow: it gets so many documents alone, spread over the corpora."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the reference data")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = [document.text for document in read_reference(arguments.data)]
    classifier = EmbeddedClassifier()
    classifier.classify(texts[:BATCH], {})
    document = json.loads(load_tokenizer("embedded").json_bytes)
    encoder = encoder_json(document, special_tokens(document))
    few = texts[:: max(1, len(texts) // REFERENCE_DOCUMENTS)]
    figures = {
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "documents": len(texts),
        "classify": speed(lambda batch: classifier.classify(batch, {}), texts),
        "gigatoken": speed(gigatoken_engine(encoder), texts),
        "fastokens": speed(fastokens_engine(encoder), texts),
        "tokenizers": speed(tokenizers_engine(encoder), few),
    }
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


def speed(work: Callable[[list[str]], object], texts: list[str]) -> dict[str, float]:
    """Megabytes of text a second of processor and of wall-clock time, the best of the passes."""
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    processor, wall = [], []
    for _ in range(REPEATS):
        started = time.process_time(), time.perf_counter()
        for start in range(0, len(texts), BATCH):
            work(texts[start : start + BATCH])
        processor.append(time.process_time() - started[0])
        wall.append(time.perf_counter() - started[1])
    return {
        "megabytes": round(megabytes, 1),
        "mb_per_core_second": round(megabytes / min(processor), 1),
        "mb_per_second": round(megabytes / min(wall), 1),
    }


if __name__ == "__main__":
    main()

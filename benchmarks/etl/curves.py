"""`python -m benchmarks.etl.curves [--only PATTERN] [--largest]`: what must not grow faster than its input.

Each curve doubles one quantity and prints processor seconds a unit, which stay level where the cost is
linear: labels of a column, small input files, letters of one word, marks stacked on one letter. The end of
each curve (4,096 labels, 100,000 inputs, 32 MB) is measured with `--largest` alone; it takes minutes.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dmix.etl.classifiers.registry import ClassifierSpec, make_classifier
from dmix.etl.classify.classify import classify_corpora
from dmix.etl.classify.plan import CorpusRequest
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.screening.duplicates import text_digests
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.shard.shard import shard_dataset
from dmix.etl.text.tokens import EMBEDDED, load_tokenizer
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY


def labels(count: int) -> None:
    """Classify and shard two documents of each label."""
    lines = ({"text": "word " * 30, "label": f"label {number % count}"} for number in range(2 * count))
    _whole_etl({"a.jsonl": lines}, ClassifySettings(classifier="column:label", taxonomy="from-data"))


def inputs(count: int) -> None:
    """Classify and shard so many files of one document."""
    _whole_etl(
        {f"{number:06}.jsonl": [{"text": f"word {number} " * 10}] for number in range(count)},
        ClassifySettings(),
    )


def word(size: int) -> None:
    """Tokenise, classify and digest one word of so many letters."""
    _one_text("ab" * (size // 2))


def marks(size: int) -> None:
    """The same for one letter with so many combining marks."""
    _one_text("a" + "\u0301\u0323" * (size // 4))


CURVES: dict[str, tuple[Callable[[int], None], tuple[int, ...], int]] = {
    "labels": (labels, (128, 256, 512, 1024), 4096),
    "inputs": (inputs, (500, 1000, 2000, 4000), 100_000),
    "word": (word, (1 << 20, 1 << 21, 1 << 22), 32 << 20),
    "marks": (marks, (1 << 20, 1 << 21, 1 << 22), 32 << 20),
}
"""By name: the work, the sizes, and the size of the end."""


def _whole_etl(files: dict[str, Any], settings: ClassifySettings) -> None:
    with tempfile.TemporaryDirectory(prefix="dmix-curve-") as name:
        folder = Path(name, "raw")
        folder.mkdir()
        for file, lines in files.items():
            (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines))
        warehouse = Warehouse.at(Path(name, "warehouse"))
        request = CorpusRequest(corpus="c-source", field="source", inputs=(str(folder),))
        started = time.process_time()
        (found,) = classify_corpora(None, warehouse, [request], settings=settings, progress=_quiet)
        shard = ShardSettings(seq_len=16)
        shard_dataset(None, warehouse, corpora=[found.version], settings=shard, progress=_quiet)
        _spent.append(time.process_time() - started)


def _one_text(text: str) -> None:
    tokenizer = load_tokenizer(EMBEDDED)
    classifier = make_classifier(ClassifierSpec(name="embedded", taxonomy=DEFAULT_TAXONOMY))
    classifier.classify(["a text"], {})
    started = time.process_time()
    tokenizer.encode([text])
    classifier.classify([text], {})
    text_digests([text])
    _spent.append(time.process_time() - started)


def _quiet(_: str) -> None:
    """Progress that nobody looks at."""


_spent: list[float] = []
"""Processor seconds of each measurement, without the making of its inputs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="PATTERN")
    parser.add_argument("--largest", action="store_true", help="the end of each curve, too")
    given = parser.parse_args()
    for name, (work, sizes, end) in CURVES.items():
        if not re.search(given.only, name):
            continue
        for size in (*sizes, *((end,) if given.largest else ())):
            work(size)
            seconds = _spent[-1]
            print(f"{name:8} {size:12,} {seconds:8.2f} s {seconds / size * 1e6:10.3f} us a unit", flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()

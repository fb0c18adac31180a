"""`python -m benchmarks.etl.ours INPUTS WAREHOUSE MASTER [COLUMN]`: the whole ETL once, as one JSON line.

INPUTS has folders `source` and `target`, or one of them. COLUMN holds the labels of the documents;
without it, the embedded classifier gives them. An empty MASTER means worker processes without Spark.

Start-up is apart: the session is there, and the workers have imported what they need and loaded
classifier and tokenizer, before the first byte of the inputs is looked at.
"""

import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.etl.processes import PeakMemory, seconds_of_tree

from dmix.etl.classifiers.registry import make_classifier
from dmix.etl.classify.classify import classify_corpora, field_requests
from dmix.etl.classify.plan import requested_classifier
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.shard.shard import shard_dataset
from dmix.etl.spark.executors import Automatic
from dmix.etl.spark.pool import worker_pool
from dmix.etl.spark.tasks import run_tasks
from dmix.etl.text.tokens import EMBEDDED, load_tokenizer
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.taxonomy import FIELDS

SEQ_LEN = 2048
CLASSIFY = ClassifySettings()
SHARD = ShardSettings(seq_len=SEQ_LEN)


def main() -> None:
    inputs, root, master, *column = sys.argv[1:]
    warehouse, started = Warehouse.at(Path(root)), time.perf_counter()
    settings = labels_of(*column)
    executor = Automatic(master=master, app="benchmark")
    spec = requested_classifier(warehouse, settings)
    cores = executor.on_spark().session.sparkContext.defaultParallelism if master else worker_pool().workers
    run_tasks(executor, functools.partial(loaded, spec=spec), list(range(2 * cores)))
    loaded(0, spec)
    before, begun = seconds_of_tree(), time.perf_counter()
    with PeakMemory() as peak:
        requests = field_requests(warehouse, fields_of(inputs), name="main", add=False, settings=settings)
        outcomes = classify_corpora(executor, warehouse, requests, settings=settings, progress=quiet)
        classified = time.perf_counter()
        corpora = [outcome.version for outcome in outcomes]
        manifest = shard_dataset(executor, warehouse, corpora=corpora, settings=SHARD, progress=quiet)
        ended = time.perf_counter()
    spent = seconds_of_tree() - before
    facts = {
        "wall_seconds": ended - begun,
        "classify_wall_seconds": classified - begun,
        "shard_wall_seconds": ended - classified,
        "processor_seconds": spent.total,
        "processor_seconds_by": spent.rounded(),
        "start_up": {
            "wall_seconds": round(begun - started, 2),
            "processor_seconds": round(before.total, 2),
        },
        "peak_mb": peak.rounded(),
        "documents": sum(version.documents for version in corpora),
        "tokens": sum(stream.tokens + stream.tail_tokens for stream in manifest.streams),
    }
    print(json.dumps(facts))


def labels_of(column: str | None = None) -> ClassifySettings:
    """Labels by the embedded classifier, or those of a column of the documents."""
    if column is None:
        return CLASSIFY
    return ClassifySettings(classifier=f"column:{column}", taxonomy="from-data")


def fields_of(inputs: str) -> dict[str, list[str]]:
    """The folders of the fields that there are."""
    folders = {field: Path(inputs, field) for field in FIELDS}
    return {field: [str(folder)] for field, folder in folders.items() if folder.is_dir()}


def loaded(_: int, spec: Any) -> None:
    """Makes a worker do once what it does once in its life; long enough for every core to get a task."""
    classifier = make_classifier(spec)
    classifier.classify(["a text"], {column: ["a label"] for column in classifier.columns})
    load_tokenizer(EMBEDDED).encode(["a text"])
    time.sleep(0.2)


def quiet(_: str) -> None:
    """Progress that nobody looks at."""


if __name__ == "__main__":
    main()

"""`python -m benchmarks.etl.ours INPUTS WAREHOUSE MASTER`: the whole ETL once, as one JSON line.

Start-up is apart: the session is there, and the workers have imported what they need and loaded
classifier and tokenizer, before the first byte of the inputs is looked at.
"""

import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.etl.processes import peak_megabytes, seconds_of_tree

from dmix.etl.classifiers import make_classifier
from dmix.etl.classify import classify_corpora, field_requests
from dmix.etl.classify_plan import requested_classifier
from dmix.etl.classify_settings import ClassifySettings
from dmix.etl.session import spark_session
from dmix.etl.shard import shard_dataset
from dmix.etl.shard_settings import ShardSettings
from dmix.etl.tasks import run_tasks
from dmix.etl.tokens import EMBEDDED, load_tokenizer
from dmix.warehouse_schema.layout import Warehouse

SEQ_LEN = 2048
CLASSIFY = ClassifySettings()
SHARD = ShardSettings(seq_len=SEQ_LEN)


def main() -> None:
    inputs, root, master = sys.argv[1:]
    warehouse, started = Warehouse.at(Path(root)), time.perf_counter()
    spark = spark_session(master=master, app="benchmark")
    cores = spark.sparkContext.defaultParallelism
    spec = requested_classifier(warehouse, CLASSIFY)
    make_classifier(spec).classify(["a text"], {})
    run_tasks(spark, functools.partial(loaded, spec=spec), list(range(2 * cores)))
    before, begun = seconds_of_tree(), time.perf_counter()
    marks = [begun]
    fields = {field: [str(Path(inputs, field))] for field in ("source", "target")}
    requests = field_requests(warehouse, fields, name="main", add=False, settings=CLASSIFY)
    outcomes = classify_corpora(spark, warehouse, requests, settings=CLASSIFY, progress=quiet)
    marks.append(time.perf_counter())
    corpora = [outcome.version for outcome in outcomes]
    manifest = shard_dataset(spark, warehouse, corpora=corpora, settings=SHARD, progress=quiet)
    marks.append(time.perf_counter())
    spent = seconds_of_tree() - before
    print(
        json.dumps(
            {
                "wall_seconds": marks[-1] - begun,
                "classify_wall_seconds": marks[1] - begun,
                "shard_wall_seconds": marks[2] - marks[1],
                "processor_seconds": spent.total,
                "processor_seconds_by": spent.rounded(),
                "start_up": {"wall_seconds": begun - started, "processor_seconds": before.total},
                "peak_mb": peak_megabytes(),
                "documents": sum(version.documents for version in corpora),
                "tokens": sum(stream.tokens + stream.tail_tokens for stream in manifest.streams),
            }
        )
    )


def loaded(_: int, spec: Any) -> None:
    """Makes a worker do once what it does once in its life; long enough for every core to get a task."""
    make_classifier(spec).classify(["a text"], {})
    load_tokenizer(EMBEDDED).encode(["a text"])
    time.sleep(0.2)


def quiet(_: str) -> None:
    """Progress that nobody looks at."""


if __name__ == "__main__":
    main()

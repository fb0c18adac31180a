"""What a worker holds that classifies with the embedded model, and shards."""

import json
import sys
from pathlib import Path

from dmix.etl.classifiers.loops import compiled
from dmix.etl.classify.classify import classify_corpora
from dmix.etl.classify.plan import CorpusRequest
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.shard.shard import shard_dataset
from dmix.etl.spark.pool import WorkerPool
from dmix.etl.spark.tasks import run_tasks
from dmix.warehouse_schema.files.layout import Warehouse

HEAVY = (
    "torch",
    "transformers",
    "streaming",
    "composer",
    "pyspark",
    "pandas",
    "duckdb",
    "awkward",
    "tokenizers",
    "pyarrow.compute",
    # the sums of rows, where no C compiler was there at the installation
    *(() if compiled() is None else ("scipy",)),
)
MOST_MEGABYTES = 300


def look(_):
    """(heavy libraries, largest resident memory in MB) of this process."""
    status = Path("/proc/self/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return sorted(set(HEAVY) & set(sys.modules)), peak_kb * 1024 / 1e6


def test_worker_that_classified_and_sharded_has_imported_nothing_heavy(tmp_path):
    raw = tmp_path / "a.jsonl"
    raw.write_text(
        "".join(json.dumps({"text": f"the court ruled on case {i} " * 40}) + "\n" for i in range(2_000))
    )
    workers, warehouse = WorkerPool(1), Warehouse.at(tmp_path / "w")
    request = CorpusRequest(corpus="c-source", field="source", inputs=(str(raw),))
    (found,) = classify_corpora(workers, warehouse, [request], settings=ClassifySettings(), progress=str)
    settings = ShardSettings(seq_len=64)
    shard_dataset(workers, warehouse, corpora=[found.version], settings=settings, progress=str)
    (worker,) = run_tasks(workers, look, [0])
    workers.close()
    assert worker[0] == []
    assert worker[1] < MOST_MEGABYTES

"""`python -m benchmarks.etl.stages INPUTS WAREHOUSE`: where the processor time goes, as one JSON line.

The same functions as in a Spark job, one task after the other in this process. Each stage's
function is wrapped in a clock; a stage's time does not hold that of stages inside it.
"""

import contextlib
import json
import pkgutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.etl.ours import CLASSIFY, SHARD, fields_of, quiet
from benchmarks.etl.texts import files_of

from dmix.etl.classifiers.registry import make_classifier
from dmix.etl.classify.classify import classify_corpora, field_requests
from dmix.etl.classify.plan import requested_classifier
from dmix.etl.reading.blocks import file_blocks
from dmix.etl.shard.shard import shard_dataset
from dmix.etl.text.tokens import EMBEDDED, load_tokenizer
from dmix.warehouse_schema.files.layout import Warehouse

BYTES = "read the bytes alone"
REST = "plans, manifests, records and the rest"

# The functions of each stage, in the order of the job. A file of bytes is read in the first one,
# the fourth and the sixth.
STAGES = {
    "find, hash and cut inputs": ("classify.plan.inspect_and_cut",),
    "read and parse": ("classify.label_tasks.read_documents", "classify.label_tasks.read_piece"),
    "classify": ("classifiers.embedded.EmbeddedClassifier.classify",),
    "rows of labels": ("classify.label_tasks.label_batch",),
    "sort and write labels": ("publishing.labels.LabelWriter.add", "publishing.labels.LabelWriter.close"),
    "publish labels": ("classify.label_tasks.publish_part",),
    "read labels": ("shard.tasks.read_texts",),
    "tokenise": ("shard.tasks.encode_documents",),
    "cut and write shards": (
        "shard.tasks.cut_samples",
        "shard.mds.ShardWriter.write",
        "shard.mds.ShardWriter.finish",
    ),
    "publish shards": ("shard.tasks.publish_files", "shard.tasks.write_record"),
}


class Clock:
    """Processor time of stages that may call each other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack = [REST]
        self._since = time.process_time()

    def start(self, stage: str) -> None:
        self._charge()
        self._stack.append(stage)

    def stop(self) -> None:
        self._charge()
        self._stack.pop()

    def _charge(self) -> None:
        now = time.process_time()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` whose calls, and whose steps if it gives an iterator, count for a stage."""

        def steps(iterator: Iterator[Any]) -> Iterator[Any]:
            while True:
                self.start(stage)
                try:
                    value = next(iterator, self)
                finally:
                    self.stop()
                if value is self:
                    return
                yield value

        def call(*arguments: Any, **named: Any) -> Any:
            self.start(stage)
            try:
                found = function(*arguments, **named)
            finally:
                self.stop()
            return steps(found) if isinstance(found, Iterator) else found

        return call


def main() -> None:
    inputs, root = Path(sys.argv[1]), Path(sys.argv[2])
    warehouse = Warehouse.at(root)
    make_classifier(requested_classifier(warehouse, CLASSIFY)).classify(["a text"], {})
    load_tokenizer(EMBEDDED)
    clock = Clock()
    with contextlib.ExitStack() as stack:
        for stage, targets in STAGES.items():
            for target in targets:
                stack.enter_context(patched(clock, stage, f"dmix.etl.{target}"))
        clock.start(BYTES)
        for path in files_of(inputs):
            for _ in file_blocks(str(path)):
                pass
        clock.stop()
        fields = fields_of(str(inputs))
        requests = field_requests(warehouse, fields, name="main", add=False, settings=CLASSIFY)
        outcomes = classify_corpora(None, warehouse, requests, settings=CLASSIFY, progress=quiet)
        corpora = [outcome.version for outcome in outcomes]
        manifest = shard_dataset(None, warehouse, corpora=corpora, settings=SHARD, progress=quiet)
        clock.start(REST)  # charges what came since the last stage
    order = [BYTES, *STAGES, REST]
    print(
        json.dumps(
            {
                "seconds": {stage: clock.seconds[stage] for stage in order},
                "tokens": sum(stream.tokens + stream.tail_tokens for stream in manifest.streams),
            }
        )
    )


def patched(clock: Clock, stage: str, target: str) -> Any:
    """Puts a clock around a function or method by its dotted name."""
    return mock.patch(target, clock.timed(stage, pkgutil.resolve_name(target)))


if __name__ == "__main__":
    main()

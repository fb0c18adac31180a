"""`python -m tests.etl.killed_job WAREHOUSE RAW MASTER [STEP MARKER]`: classifies and shards, and may die.

With a step of `STEPS`, the whole process group gets SIGKILL the first time that this step is
about to be taken; the file MARKER then says that it happened. `classify_and_shard` is that job in
any process, with or without Spark.
"""

import contextlib
import functools
import os
import signal
import sys
from pathlib import Path
from unittest import mock

from dmix.etl.classify.classify import classify_corpora
from dmix.etl.classify.label_tasks import label_part
from dmix.etl.classify.plan import CorpusRequest
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.shard.shard import ShardSettings, shard_dataset
from dmix.etl.shard.tasks import encode_shard_input
from dmix.etl.spark.session import spark_session
from dmix.warehouse_schema.files.layout import Warehouse

# What is about to be called when the process dies, by what that means.
CLASSIFY_TASK = {
    "a label file is whole": "dmix.etl.publishing.labels.seal",
    "the files of a part are published": "dmix.etl.classify.label_tasks.publish_part",
    "a part is recorded": "dmix.etl.classify.parts.publish_json",
}
CLASSIFY_DRIVER = {
    "a version is published": "dmix.etl.classify.classify.write_corpus_version",
    "the leavings of a version are removed": "dmix.etl.classify.classify.logger.info",
}
SHARD_TASK = {
    "the shards of a split are published": "dmix.etl.shard.tasks.publish_files",
    "a split is recorded": "dmix.etl.shard.tasks.write_record",
}
SHARD_DRIVER = {
    "the tails of a domain are published": "dmix.etl.shard.shard.publish_files",
    "a dataset is published": "dmix.etl.shard.shard.write_dataset_manifest",
    "the leavings of a dataset are removed": "dmix.etl.shard.shard.remove_unnamed_streams",
}
STEPS = CLASSIFY_TASK | CLASSIFY_DRIVER | SHARD_TASK | SHARD_DRIVER

CLASSIFY = ClassifySettings(
    classifier="column:topic", taxonomy="from-data", part_bytes=20_000, piece_bytes=200_000
)
SHARD = ShardSettings(seq_len=16, split_bytes=20_000, shard_bytes=8_192)


def die(marker, group, *_args, **_kwargs):
    """Kills the process group of the driver; workers, which have groups of their own, wait for their end."""
    marker.touch()
    os.killpg(group, signal.SIGKILL)
    while True:
        signal.pause()


def dying(work, target, death):
    """`work` of a task that dies at the target."""

    def task(item, job):
        with mock.patch(target, side_effect=death):
            return work(item, job)

    return task


def classify_and_shard(spark, warehouse, raw, *, step="", death=None):
    """The whole job; calls `death` when `step` is about to be taken."""
    label, encode = label_part, encode_shard_input
    if step in CLASSIFY_TASK:
        label = dying(label_part, CLASSIFY_TASK[step], death)
    if step in SHARD_TASK:
        encode = dying(encode_shard_input, SHARD_TASK[step], death)
    target = (CLASSIFY_DRIVER | SHARD_DRIVER).get(step)
    with mock.patch(target, side_effect=death) if target else contextlib.nullcontext():
        request = CorpusRequest(corpus="c-source", field="source", inputs=(str(raw),))
        outcome = classify_corpora(spark, warehouse, [request], settings=CLASSIFY, progress=print, work=label)
        corpora = [found.version for found in outcome]
        return shard_dataset(spark, warehouse, corpora=corpora, settings=SHARD, progress=print, work=encode)


def main():
    root, raw, master, *given = sys.argv[1:]
    step, marker = (given[0], Path(given[1])) if given else ("", Path())
    death = functools.partial(die, marker, os.getpgrp())
    if given and marker.exists():
        step = ""
    spark = spark_session(master=master, app="killed")
    classify_and_shard(spark, Warehouse.at(root), raw, step=step, death=death)


if __name__ == "__main__":
    main()

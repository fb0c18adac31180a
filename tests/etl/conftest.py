"""Label corpora of tests, written as a classifier would leave them, with any labels one likes."""

import hashlib
import subprocess
import sys
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmix.etl.shard.plan import plan_dataset
from dmix.etl.shard.shard import ShardSettings, shard_dataset
from dmix.etl.shard.tasks import encode_shard_input
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import (
    CorpusVersion,
    DomainRows,
    InputFile,
    LabelFile,
    LabelPart,
    write_corpus_version,
)
from dmix.warehouse_schema.taxonomy import Taxonomy

SMALL = ShardSettings(seq_len=16, split_bytes=4_000, shard_bytes=2_048)
TAXONOMY = Taxonomy("three", ("Games", "News", "Pets & Animals"))
# A DeBERTa-v3 small enough for a test, as config.json of a checkpoint says it.
ENCODER = {
    "model_type": "deberta-v2",
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "layer_norm_eps": 1e-7,
    "max_relative_positions": -1,
    "pad_token_id": 0,
}


def write_label_file(folder, name, documents, taxonomy, path="0.jsonl"):
    """One label file of [(label, text)], sorted by domain as the contract of labels says."""
    ordered = sorted(documents, key=lambda document: taxonomy.index(document[0]))
    table = pa.table(
        {
            "id": [f"{name}-{i}" for i in range(len(ordered))],
            "text": [text for _, text in ordered],
            "path": [path] * len(ordered),
            "position": list(range(1, len(ordered) + 1)),
            "label": [label for label, _ in ordered],
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name, row_group_size=7)
    content = (folder / name).read_bytes()
    runs = []
    for label in taxonomy.labels:
        texts = [text for other, text in ordered if other == label]
        if texts:
            size = sum(len(text.encode()) for text in texts)
            runs.append(DomainRows(label=label, documents=len(texts), text_bytes=size))
    sha256 = hashlib.sha256(content).hexdigest()
    return LabelFile(name=name, sha256=sha256, size_bytes=len(content), domains=tuple(runs))


def write_corpus(warehouse, corpus, field, files, *, taxonomy=TAXONOMY, version=1):
    """Publishes a version whose parts hold one label file each: files is [[(label, text), …], …]."""
    parts = []
    for number, documents in enumerate(files):
        fingerprint = digest_of([corpus, number, documents])[:16]
        file = write_label_file(
            warehouse.labels(corpus) / "parts" / fingerprint,
            "labels-00000.parquet",
            documents,
            taxonomy,
            path=f"{number}.jsonl",
        )
        source = InputFile(
            path=f"/raw/{number}.jsonl",
            name=f"{number}.jsonl",
            size_bytes=1,
            sha256=fingerprint,
            format="jsonl",
            compression="none",
        )
        parts.append(LabelPart(fingerprint=fingerprint, inputs=(source,), files=(file,), rejected={}))
    published = CorpusVersion(
        corpus=corpus,
        version=version,
        field=field,
        taxonomy=taxonomy,
        classifier="column:label",
        classifier_fingerprint="0" * 16,
        parts=tuple(parts),
        created_at="2025-01-01T00:00:00+00:00",
    )
    write_corpus_version(warehouse, published)
    return published


def shard_here(warehouse, corpora, settings=SMALL):
    """A dataset made without Spark: every split in this process, the last one first."""
    plan = plan_dataset(warehouse, corpora=corpora, settings=settings)
    folder = warehouse.stream(plan.dataset)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes(plan.tokenizer.json_bytes)
    for split in reversed(plan.all_shard_inputs):
        encode_shard_input(split, plan.job(folder))
    return shard_dataset(None, warehouse, corpora=corpora, settings=settings, progress=lambda line: None)


def words(start, count):
    """Text of `count` words that no other start gives."""
    return " ".join(f"word{start * 1000 + i}" for i in range(count))


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path / "warehouse")


@pytest.fixture
def make_corpus(warehouse):
    """`write_corpus` into the test's warehouse."""

    def make(corpus, field, files, **more):
        return write_corpus(warehouse, corpus, field, files, **more)

    return make


def write_pair(warehouse):
    """Two corpora: News is large and lies in two parts, one domain fills no sample, one is empty."""
    source = [
        [("News", words(i, 40 + i)) for i in range(30)] + [("Games", words(100, 1))],
        [("News", words(50 + i, 25)) for i in range(20)]
        + [("Pets & Animals", words(200 + i, 30)) for i in range(6)],
    ]
    target = [[("Games", words(300 + i, 60)) for i in range(9)] + [("News", "")]]
    return [
        write_corpus(warehouse, "main-source", "source", source),
        write_corpus(warehouse, "main-target", "target", target),
    ]


@pytest.fixture
def pair(warehouse):
    """The corpora of `write_pair` in the test's warehouse."""
    return write_pair(warehouse)


@pytest.fixture
def make_dataset(warehouse):
    """`shard_here` into the test's warehouse."""

    def make(corpora, settings=SMALL):
        return shard_here(warehouse, corpora, settings)

    return make


@pytest.fixture(scope="session")
def published(spark, tmp_path_factory):
    """(warehouse, corpora, manifest) of `write_pair` under SMALL, made by Spark; not to be changed."""
    warehouse = Warehouse.at(tmp_path_factory.mktemp("published") / "warehouse")
    corpora = write_pair(warehouse)
    manifest = shard_dataset(spark, warehouse, corpora=corpora, settings=SMALL, progress=lambda line: None)
    return warehouse, corpora, manifest


HOLDER = """
import sys, pathlib
from dmix.warehouse_schema.files.locks import held_lock
with held_lock(pathlib.Path(sys.argv[1]), what="it"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held_elsewhere():
    """A context manager: another process holds a lock file; gives its process id."""

    @contextmanager
    def hold(path):
        command = [sys.executable, "-c", HOLDER, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout.readline() == b"held\n"
            yield holder.pid
            holder.stdin.close()

    return hold

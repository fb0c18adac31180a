"""Small warehouses: two labels, a corpus version, a dataset, a set, an agent, a run."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.manifests import dataset_manifest

from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import Warehouse, publish_json
from dmix.warehouse_schema.files.manifests import (
    CorpusReference,
    CorpusVersion,
    DomainRows,
    InputFile,
    LabelFile,
    LabelPart,
    StreamFile,
    TokenizerFile,
    write_corpus_version,
    write_dataset_manifest,
)
from dmix.warehouse_schema.taxonomy import FIELDS, Taxonomy

TAXONOMY = Taxonomy("two", ("Games", "Real Estate"))
SPACE = [[field, label] for field in FIELDS for label in TAXONOMY.labels]
TIME = "2026-01-02T03:04:05+00:00"


def corpus_version(corpus="main-source", version=1, field="source", games=3, homes=1, **changes):
    name = "part-0.parquet"
    rows = (DomainRows(label="Games", documents=games, text_bytes=10 * games),)
    if homes:
        rows += (DomainRows(label="Real Estate", documents=homes, text_bytes=10 * homes),)
    rejects = (LabelFile(name="rejects-0.parquet", sha256="r", size_bytes=1, domains=()),)
    part = LabelPart(
        fingerprint="f00d",
        inputs=(
            InputFile(
                path="/a.jsonl", name="a.jsonl", size_bytes=9, sha256="s", format="jsonl", compression="none"
            ),
        ),
        files=(LabelFile(name=name, sha256="h", size_bytes=5, domains=rows),),
        rejected={"empty": 1, "not_utf8": 1},
        reject_files=rejects,
    )
    values = {
        "corpus": corpus,
        "version": version,
        "field": field,
        "taxonomy": TAXONOMY,
        "classifier": "embedded",
        "classifier_fingerprint": "c1",
        "parts": (part,),
        "created_at": TIME,
        **changes,
    }
    return CorpusVersion(**values)


def small_manifest(dataset="abc", samples=((6, 2), (0, 4)), **changes):
    counts = [count for of_field in samples for count in of_field]
    source = CorpusReference(
        corpus="main-source", version=1, field="source", synthetic=False, manifest_sha256="m"
    )
    given = {
        "dataset": dataset,
        "name": "small",
        "tokenizer": TokenizerFile(name="embedded", sha256="t", vocab_size=8192, eot_id=0),
        "seed": 7,
        "corpora": (source,),
        "created_at": TIME,
    }
    return dataset_manifest(
        counts,
        taxonomy=TAXONOMY,
        files=[_shard_files(count) for count in counts],
        stream=lambda count: {"documents": 2 * count, "tail_tokens": 3},
        **given | changes,
    )


def _shard_files(count):
    named = (("index.json", 0), ("shard.00000.00000.mds", count)) if count else ()
    return [StreamFile(name=name, size_bytes=100, sha256="x", samples=samples) for name, samples in named]


def write_rejects(warehouse, corpus="main-source", fingerprint="f00d"):
    path = warehouse.rejects(corpus) / fingerprint / "rejects-0.parquet"
    path.parent.mkdir(parents=True)
    rows = {"path": ["/a.jsonl", "/a.jsonl"], "position": [4, 9], "reason": ["empty", "not_utf8"]}
    rows["detail"] = [None, "byte 0xff"]
    pq.write_table(pa.table(rows), path)


def write_set(warehouse, set_name="farm"):
    publish_json(
        warehouse.trajectories(set_name) / "set.json",
        {"format": 1, "dataset": "abc", "preset": "paper", "space": SPACE, "created_at": TIME},
    )
    rows = {
        "trajectory_id": ["p0", "p0"],
        "kind": ["inductive", "inductive"],
        "top_k": pa.array([10, 10], pa.int32()),
        "step": pa.array([0, 1], pa.int32()),
        "weights": [[0.75, 0.25, 0.0, 0.0], [0.5, 0.1, 0.0, 0.4]],
    }
    pq.write_table(pa.table(rows), warehouse.trajectories(set_name) / "inductive-10-0.parquet")


def write_feedback(warehouse, set_name="farm"):
    rows = {
        "trajectory_id": ["p0", "p0"],
        "step": pa.array([0, 1], pa.int32()),
        "objective": ["math", "math"],
        "score": [-5.0, -4.5],
    }
    warehouse.feedback(set_name).mkdir(parents=True)
    pq.write_table(pa.table(rows), warehouse.feedback(set_name) / "p0.parquet")


def write_agent(warehouse, agent="a1"):
    publish_json(
        warehouse.agent(agent) / "config.json",
        {"preset": "paper", "set_name": "farm", "trained_at": TIME, "parameters": 2120000, "labels": ["x"]},
    )


class RunWriter:
    """Writes the events of a run over `SPACE`, ten samples per step."""

    def __init__(self, warehouse, run_id="r1"):
        self.path = warehouse.run(run_id) / "events.jsonl"
        self.run_id = run_id
        self.log = None

    def start(self, attempt=1, **values):
        self.log = EventLog(self.path, run_id=self.run_id, attempt=attempt)
        given = {"kind": "guided", "dataset": "abc", "controller": "natural", "config": {"lr": 0.1}}
        self.log.write("run_started", **{**given, "space": SPACE, "resumed_from_step": None, **values})
        return self

    def decide(self, step, asked=(0.5, 0.3, 0.0, 0.2), **values):
        given = {
            "asked_N": list(asked),
            "planned_N": [0.6, 0.2, 0.0, 0.2],
            "planned_samples_N": [6, 2, 0, 2],
            "reasons": {"0": "field exhausted"},
            "remarks": [],
            "decided_to": step,
        }
        self.log.write("decision", step=step, **{**given, **values})
        return self

    def finish_step(self, step, delivered=(6, 2, 0, 2), **values):
        given = {
            "delivered_samples_N": list(delivered),
            "delivered_tokens_N": [8 * count for count in delivered],
            "passes_N": [0, 0, 0, 1],
            "loss_sum_N": [48.0, 32.0, 0.0, 8.0],
            "loss_tokens_N": [48, 16, 0, 16],
            "loss": 1.1,
            "seconds": 2.5,
            "digest": f"d{step}",
            "chain": f"c{step}",
        }
        self.log.write("step_done", step=step, **{**given, **values})
        return self

    def score(self, step, value):
        self.log.write("feedback", step=step, scores={"math": value})
        return self

    def note(self, step, kind, detail):
        self.log.write("note", step=step, kind=kind, detail=detail)
        return self

    def end(self, step, event="run_done"):
        self.log.write(event, step=step, detail="")
        return self


@pytest.fixture
def warehouse(tmp_path):
    root = tmp_path / "warehouse"
    root.mkdir()
    return Warehouse.at(root)


@pytest.fixture
def make_corpus():
    return corpus_version


@pytest.fixture
def make_dataset():
    return small_manifest


@pytest.fixture
def run_writer():
    return RunWriter


@pytest.fixture
def full_warehouse(warehouse):
    """One of everything, nothing imported yet."""
    write_corpus_version(warehouse, corpus_version())
    write_rejects(warehouse)
    write_dataset_manifest(warehouse, small_manifest())
    write_set(warehouse)
    write_feedback(warehouse)
    write_agent(warehouse)
    run = RunWriter(warehouse).start().score(0, -5.0)
    run.decide(1).note(1, "guard", "floor raised").finish_step(1).score(1, -4.0).end(1)
    return warehouse

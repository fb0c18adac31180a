import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmix.warehouse_schema.catalog import importing
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.catalog.units import published_units, read_unit
from dmix.warehouse_schema.files.layout import publish_json
from dmix.warehouse_schema.files.manifests import write_corpus_version, write_dataset_manifest


@pytest.fixture
def ask(full_warehouse):
    """Rows of a question after a sync."""

    def rows(sql):
        sync(full_warehouse)
        with Catalog.open_reader(full_warehouse) as catalog:
            return catalog.query(sql)[1]

    return rows


def test_corpora_and_their_rejects_are_listed(ask):
    columns = "corpus, version, field, synthetic, documents, rejected, classifier, created_at::varchar"
    assert ask(f"select {columns} from corpora") == [
        ("main-source", 1, "source", False, 4, 2, "embedded", "2026-01-02 03:04:05")
    ]
    assert ask("select * from rejects order by position") == [
        ("main-source", 1, "/a.jsonl", 4, "empty", None, "source"),
        ("main-source", 1, "/a.jsonl", 9, "not_utf8", "byte 0xff", "source"),
    ]


def test_domains_are_listed_once_with_what_uses_them(ask):
    assert ask("from domains order by domain_index") == [
        ("two", 0, "Games", "Games", ["abc", "main-source@v1"]),
        ("two", 1, "Real Estate", "Real_Estate-5226954f", ["abc", "main-source@v1"]),
    ]


def test_datasets_and_their_streams_are_listed(ask):
    assert ask("select * exclude created_at from datasets") == [
        ("abc", "small", "two", "embedded", 8, 7, ["main-source@v1"])
    ]
    sql = "select field, domain, documents, samples, tokens, tail_tokens, shards, bytes from domain_tokens"
    assert ask(f"{sql} order by field, domain_index") == [
        ("source", "Games", 12, 6, 48, 3, 1, 200),
        ("source", "Real Estate", 4, 2, 16, 3, 1, 200),
        ("target", "Games", 0, 0, 0, 3, 0, 0),
        ("target", "Real Estate", 8, 4, 32, 3, 1, 200),
    ]


def test_start_state_is_shares_within_the_field(ask, full_warehouse, make_dataset):
    write_dataset_manifest(full_warehouse, make_dataset(dataset="one-field", samples=((6, 2), (0, 0))))
    sql = (
        "select estimator, field, domain, documents, document_weight, sample_weight, weight_low, weight_high"
    )
    assert ask(f"{sql} from start_state where dataset = 'abc' order by field, domain_index") == [
        ("corpus", "source", "Games", 12, 0.75, 0.75, 0.75, 0.75),
        ("corpus", "source", "Real Estate", 4, 0.25, 0.25, 0.25, 0.25),
        ("corpus", "target", "Games", 0, 0.0, 0.0, 0.0, 0.0),
        ("corpus", "target", "Real Estate", 8, 1.0, 1.0, 1.0, 1.0),
    ]
    sql = "select distinct sample_weight from start_state where dataset = 'one-field' and field = 'target'"
    assert ask(sql) == [(None,)]


def test_trajectories_have_one_row_a_domain(ask):
    sql = (
        "select set_name, dataset, trajectory_id, kind, top_k, step, field, domain, weight from trajectories"
    )
    assert ask(f"{sql} where step = 1 order by field, domain") == [
        ("farm", "abc", "p0", "inductive", 10, 1, "source", "Games", 0.5),
        ("farm", "abc", "p0", "inductive", 10, 1, "source", "Real Estate", 0.1),
        ("farm", "abc", "p0", "inductive", 10, 1, "target", "Games", 0.0),
        ("farm", "abc", "p0", "inductive", 10, 1, "target", "Real Estate", 0.4),
    ]


def test_feedback_and_agents_are_listed(ask):
    assert ask("from feedback order by step") == [
        ("farm", "p0", 0, "math", -5.0, None),
        ("farm", "p0", 1, "math", -4.5, None),
    ]
    [row] = ask("select agent, preset, set_name, parameters, config ->> '$.labels[0]' from agents")
    assert row == ("a1", "paper", "farm", 2120000, "x")


def test_the_mixture_of_a_run_has_asked_planned_and_delivered(ask):
    assert ask("from mixture order by field, domain") == [
        ("r1", 1, "source", "Games", 0.5, 0.6, 6, 6, 48, 0.0, "field exhausted"),
        ("r1", 1, "source", "Real Estate", 0.3, 0.2, 2, 2, 16, 0.0, None),
        ("r1", 1, "target", "Games", 0.0, 0.0, 0, 0, 0, 0.0, None),
        ("r1", 1, "target", "Real Estate", 0.2, 0.2, 2, 2, 16, 1.0, None),
    ]


def test_domain_loss_is_a_mean_over_the_tokens_of_domains_that_were_drawn(ask):
    assert ask("select field, domain, loss, tokens from domain_loss order by field, domain") == [
        ("source", "Games", 1.0, 48),
        ("source", "Real Estate", 2.0, 16),
        ("target", "Real Estate", 0.5, 16),
    ]


def test_steps_scores_and_events_of_a_run_are_listed(ask):
    assert ask("select step, attempt, loss, seconds, digest, chain from run_steps") == [
        (1, 1, 1.1, 2.5, "d1", "c1")
    ]
    assert ask("from run_feedback order by step") == [("r1", 0, "math", -5.0), ("r1", 1, "math", -4.0)]
    assert ask("select step, kind from run_events order by line") == [
        (None, "run_started"),
        (1, "guard"),
        (1, "run_done"),
    ]
    [row] = ask(
        "select dataset, kind, controller, status, config ->> 'lr', finished_at >= started_at from runs"
    )
    assert row == ("abc", "guided", "natural", "done", "0.1", True)


def test_a_synthetic_corpus_is_listed_as_such(ask, full_warehouse, make_corpus):
    write_corpus_version(full_warehouse, make_corpus(corpus="spoken", synthetic=True))
    assert ask("select corpus, version, documents from synthetic") == [("spoken", 1, 4)]


@pytest.mark.parametrize(
    ("folder", "views"),
    [
        ("labels/main-source", ["corpora", "rejects"]),
        ("streams/abc", ["datasets", "domain_tokens", "start_state"]),
        ("trajectories/farm", ["trajectories"]),
        ("feedback/farm", ["feedback"]),
        ("agents/a1", ["agents"]),
        ("runs/r1", ["runs", "mixture", "run_steps", "run_feedback", "run_events", "domain_loss"]),
    ],
)
def test_what_is_deleted_disappears(ask, full_warehouse, folder, views):
    counts = "select " + ", ".join(f"(select count(*) from {view})" for view in views)
    assert all(ask(counts)[0])
    shutil.rmtree(full_warehouse.root / folder)
    assert ask(counts) == [(0,) * len(views)]
    assert ask(f"select count(*) from catalog.store.units where unit like '{folder}%'") == [(0,)]


def test_a_changed_file_replaces_its_rows(ask, full_warehouse):
    ask("from agents")
    publish_json(full_warehouse.agent("a1") / "config.json", {"preset": "default", "parameters": 1})
    assert ask("select agent, preset, parameters from agents") == [("a1", "default", 1)]


def test_only_what_is_new_or_changed_is_read(full_warehouse, make_corpus, monkeypatch):
    sync(full_warehouse)
    read = []
    monkeypatch.setattr(importing, "read_unit", lambda w, unit: read.append(unit.path) or read_unit(w, unit))
    write_corpus_version(full_warehouse, make_corpus(version=2))
    sync(full_warehouse)
    assert read == ["labels/main-source/v2.json"]


def test_versions_that_share_a_part_share_its_rejects(ask, full_warehouse, make_corpus):
    write_corpus_version(full_warehouse, make_corpus(version=2))
    assert ask("select version, count(*) from rejects group by version order by version") == [(1, 2), (2, 2)]
    (full_warehouse.labels("main-source") / "v1.json").unlink()
    assert ask("select version, count(*) from rejects group by version") == [(2, 2)]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("labels/bad/v1.json", b"{"),
        ("labels/bad/v1.json", b'{"format": 9}'),
        ("streams/bad/manifest.json", b"[]"),
        ("trajectories/bad/set.json", b'{"space": 3}'),
        ("trajectories/farm/bad.parquet", b"PAR1"),
        ("feedback/farm/bad.parquet", b""),
        ("agents/bad/config.json", b'{"parameters": "many"}'),
        ("agents/bad/config.json", b'{"trained_at": "yesterday"}'),
        ("runs/bad/events.jsonl", b"garbage\n"),
        ("runs/bad/events.jsonl", b'{"event": "run_started"}\n'),
        ("runs/bad/events.jsonl", b'{"event": "decision"}\n{"event": "run_started", "space": []}\n'),
    ],
)
def test_a_damaged_file_is_named_and_hides_nothing_else(ask, full_warehouse, caplog, path, content):
    file = full_warehouse.root / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    assert ask("select (select count(*) from runs), (select count(*) from agents)") == [(1, 1)]
    assert f"the catalog leaves out {path}" in caplog.text


def test_a_missing_reject_file_is_named_and_read_when_it_is_back(ask, full_warehouse, make_corpus, caplog):
    path = full_warehouse.rejects("main-source") / "f00d" / "rejects-0.parquet"
    path.rename(path.with_suffix(".away"))
    assert ask("select count(*) from rejects") == [(0,)]
    assert "the catalog leaves out rejects/main-source/f00d/rejects-0.parquet" in caplog.text
    path.with_suffix(".away").rename(path)
    write_corpus_version(full_warehouse, make_corpus(version=2))
    assert ask("select count(*) from rejects") == [(4,)]


def test_hidden_files_odd_names_and_sets_without_a_manifest_are_not_published(warehouse):
    for path in (
        "labels/c/v1.json.bak", "labels/c/vx.json", "labels/.hidden/v1.json", "runs/.tmp/events.jsonl",
        "trajectories/s/p.parquet", "feedback/s/.p.parquet", "labels/file",
    ):  # fmt: skip
        file = warehouse.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    assert published_units(warehouse) == {}


def test_rows_are_inserted_in_bounded_pieces(ask, full_warehouse, monkeypatch):
    monkeypatch.setattr(importing, "_ROWS_AT_ONCE", 3)
    steps = {
        "trajectory_id": [f"t{i}" for i in range(20)],
        "kind": ["static"] * 20,
        "top_k": pa.array([None] * 20, pa.int32()),
        "step": list(range(20)),
        "weights": [[0.25] * 4] * 20,
    }
    for name in "xyz":
        pq.write_table(pa.table(steps), full_warehouse.trajectories("farm") / f"{name}.parquet")
    assert ask("select count(*), sum(weight) from trajectories where kind = 'static'") == [(240, 60.0)]


def test_a_file_is_read_again_when_its_time_changes(full_warehouse):
    sync(full_warehouse)
    path = full_warehouse.agent("a1") / "config.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value))
    os.utime(path, ns=(1, 1))
    unit = published_units(full_warehouse, "agent")["agents/a1/config.json"]
    assert unit.mtime_ns == 1
    sync(full_warehouse)
    with Catalog.open_reader(full_warehouse) as catalog:
        assert catalog.query("select mtime_ns from catalog.store.units where kind = 'agent'")[1] == [(1,)]

"""The main job on all of the real corpora: text to labels to streams to a run under an agent."""

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dmix.cli.main import run
from dmix.mixing.delivery.dataset import MixedDataset
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

STEPS, STEP_SAMPLES, BATCH = 20, 64, 16

_MODEL = """\
architecture: llama
config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2,
         tie_word_embeddings: true}
"""
_ENVIRONMENT = """\
objectives:
  - {{name: arc_easy, role: general, kind: qa, path: {eval}/arc_easy_test.jsonl.gz, limit: 8}}
  - {{name: gsm8k, role: target, kind: qa, path: {eval}/gsm8k_test.jsonl.gz, limit: 8}}
"""


@pytest.fixture(scope="module")
def warehouse(test_data, spark, tmp_path_factory) -> Warehouse:
    """All real corpora, classified and sharded by the commands."""
    folder = tmp_path_factory.mktemp("real")
    corpora = test_data / "corpora"
    given = ["--warehouse", str(folder / "warehouse")]
    targets = ["--target", str(corpora / "target_math"), "--target", str(corpora / "target_code")]
    assert run(["etl", "classify", "--source", str(corpora / "source"), *targets, *given]) == 0
    assert run(["etl", "shard", "--seq-len", "128", *given]) == 0
    return Warehouse.at(folder / "warehouse")


def rows(warehouse: Warehouse, sql: str) -> list[tuple]:
    with Catalog.open_reader(warehouse) as catalog:
        return catalog.query(sql)[1]


def test_every_document_is_a_label_or_a_reject(warehouse, test_data):
    files = (test_data / "corpora").rglob("*.jsonl.gz")
    lines = sum(gzip.decompress(path.read_bytes()).count(b"\n") for path in files)
    assert rows(warehouse, "SELECT sum(documents + rejected) FROM corpora") == [(lines,)]
    assert run(["etl", "verify", "--warehouse", str(warehouse.root)]) == 0


def test_tokens_of_the_catalog_are_those_in_the_shards(warehouse):
    manifest = read_dataset_manifest(warehouse)
    with MixedDataset(manifest, warehouse.stream(manifest.dataset)) as dataset:
        counted = sum(
            dataset.batch(list(range(at, min(at + 4096, len(dataset)))))["input_ids"].numel()
            for at in range(0, len(dataset), 4096)
        )
    assert rows(warehouse, "SELECT sum(tokens) FROM domain_tokens") == [(counted,)]


def test_guided_run_delivers_what_it_plans_and_can_be_asked_meanwhile(warehouse, test_data, tmp_path):
    (tmp_path / "model.yaml").write_text(_MODEL)
    (tmp_path / "environment.yaml").write_text(_ENVIRONMENT.format(eval=test_data / "eval"))
    given = ["--warehouse", str(warehouse.root)]
    small = ["--paths", "2", "--top-k", "1", "--random-paths", "1", "--candidates", "500", "--steps", "4"]
    assert run(["mix", "sample", "--set", "small", *small, "--batch-size", str(BATCH), *given]) == 0
    assert run(["agent", "sft", "--set", "small", "--agent", "small", "--epochs", "2", *given]) == 0
    with (
        subprocess.Popen(
            [
                *(sys.executable, "-c", "from dmix.cli.main import main; main()"),
                *("train", "--agent", "small", "--run", "guided", "--allow-unscreened", *given),
                *(
                    "--model",
                    str(tmp_path / "model.yaml"),
                    "--environment",
                    str(tmp_path / "environment.yaml"),
                ),
                *("--steps", str(STEPS), "--samples-per-step", str(STEP_SAMPLES), "--batch-size", str(BATCH)),
            ],
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        Catalog.open_reader(warehouse) as kept_open,
    ):
        seen = 0
        while process.poll() is None and seen == 0:
            time.sleep(0.2)
            asked = "SELECT count(*) FROM mixture WHERE run_id = 'guided' AND delivered_samples > 0"
            ((seen,),) = rows(warehouse, asked)
        assert process.poll() is None, "the run ended before it could be asked"
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        assert kept_open.query("SELECT count(*) FROM domains")[1][0][0] >= 26
    _check_delivery(warehouse)


def _check_delivery(warehouse: Warehouse) -> None:
    per_step = rows(
        warehouse,
        "SELECT step, sum(delivered_samples) FROM mixture WHERE run_id = 'guided' GROUP BY ALL ORDER BY step",
    )
    assert per_step == [(step, STEP_SAMPLES) for step in range(1, STEPS + 1)]
    planned = rows(
        warehouse,
        "SELECT step, planned_weight, planned_samples, delivered_samples FROM mixture"
        " WHERE run_id = 'guided' ORDER BY step, field, domain",
    )
    steps = np.array(planned, dtype=float).reshape(STEPS, -1, 4)
    weight_TN, planned_TN, delivered_TN = steps[..., 1], steps[..., 2], steps[..., 3]
    assert (planned_TN == delivered_TN).all()
    owed_TN = np.cumsum(STEP_SAMPLES * weight_TN - delivered_TN, axis=0)
    assert np.abs(STEP_SAMPLES * weight_TN - delivered_TN).max() < 2
    assert np.abs(owed_TN).max() < 1 + 1e-9


def test_events_hold_a_chain_of_digests(warehouse):
    events = Path(warehouse.run("guided") / "events.jsonl").read_text().splitlines()
    chains = [json.loads(line)["chain"] for line in events if '"step_done"' in line]
    assert len(set(chains)) == STEPS

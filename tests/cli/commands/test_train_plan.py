"""`dmix train --dry-run` of runs that no test machine could train."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from dmix.cli.main import run
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import StreamFile, TokenizerFile, write_dataset_manifest

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
# 38.1 steps' worth of target, ten times as much source
STEPS_OF_TARGET = 38.1


@dataclass(frozen=True)
class Large:
    name: str
    step_samples: int
    seq_len: int
    vocabulary: int
    ranks: int
    batches: int


LARGE = [
    Large("llama-3b", 64_000, 4096, 128_256, 64, 10_000),
    Large("pythia-1.4b", 128_000, 2048, 50_304, 16, 20_000),
]


@pytest.mark.parametrize("large", LARGE, ids=lambda large: large.name)
def test_large_examples_are_planned_without_being_built(make_manifest, tmp_path, capsys, monkeypatch, large):
    step_samples, ranks = large.step_samples, large.ranks
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * 2**30))
    target = int(STEPS_OF_TARGET * step_samples)
    manifest = make_manifest([10 * target, target], seq_len=large.seq_len)
    streams = tuple(
        replace(
            entry,
            files=(
                StreamFile(name="index.json", size_bytes=1, sha256="", samples=0),
                StreamFile(name="shard.mds", size_bytes=1, sha256="", samples=entry.samples),
            ),
        )
        for entry in manifest.streams
    )
    tokenizer = TokenizerFile(name="theirs", sha256="", vocab_size=large.vocabulary, eot_id=0)
    root = tmp_path / "warehouse"
    root.mkdir()
    write_dataset_manifest(Warehouse.at(root), replace(manifest, streams=streams, tokenizer=tokenizer))
    example = EXAMPLES / large.name
    arguments = ["--model", str(example / "model.yaml"), "--training", str(example / "training.yaml")]
    sizes = ["--steps", "80", "--samples-per-step", str(step_samples), "--ranks", str(ranks)]
    code = run(
        [
            *("train", *arguments, *sizes, "--controller", "natural"),
            *("--warehouse", str(root), "--dry-run", "--json"),
        ]
    )
    shown = capsys.readouterr()
    assert code == 0, shown.err
    plan = json.loads(shown.out)
    assert (plan["steps"], plan["batches"], plan["ranks"]) == (80, large.batches, ranks)
    assert plan["tokens"] == 80 * step_samples * large.seq_len
    memory = plan["memory_bytes"]
    assert memory["total"] == sum(size for part, size in memory.items() if part != "total") < 40 * 2**30
    assert memory["optimizer"] == 2 * memory["weights"] == 8 * -(-plan["parameters"] // ranks)
    assert plan["hours"] is None  # too large to be timed here
    assert not (root / "runs").exists()

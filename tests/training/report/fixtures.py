"""Warehouses for reports, written as the commands write them, and what tests ask of a page."""

import json
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.manifests import dataset_manifest, trajectory_set

from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.store import Trajectory, publish_set, write_trajectory
from dmix.training.report import write_report
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import Warehouse
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
from dmix.warehouse_schema.files.screenings import Screening, write_screening
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
    counts = [samples[i % len(samples)] for i in range(len(taxonomy.labels))]
    index = StreamFile(name="index.json", size_bytes=3, sha256="3" * 64, samples=0)
    counts = [2 * count for count in counts] + counts
    manifest = dataset_manifest(
        counts,
        taxonomy=taxonomy,
        seq_len=64,
        files=[(index,) if count else () for count in counts],
        stream=lambda count: {"documents": 3 * count, "tail_tokens": 7},
        dataset="d0123456789abcde",
        name="demo",
        tokenizer=TokenizerFile(name="embedded", sha256="4" * 64, vocab_size=8192, eot_id=0),
        corpora=tuple(
            CorpusReference(corpus=f"main-{f}", version=1, field=f, synthetic=False, manifest_sha256="5" * 64)
            for f in FIELDS
        ),
        created_at=NOW.isoformat(),
    )
    write_dataset_manifest(warehouse, manifest)


def add_screening(warehouse, kind, found):
    """A search of the two corpora that found documents of these (field, domain) pairs."""
    folder = warehouse.screening(kind, "5" * 16)
    folder.mkdir(parents=True)
    files = {}
    for field in FIELDS:
        rows = [
            {
                "corpus": f"main-{field}",
                "path": "a.jsonl",
                "position": number + 1,
                "document_id": f"{field}-{number}",
                "first_corpus": "main-source",
                "first_path": "a.jsonl",
                "first_position": 1,
                "first_document_id": "first",
                "domain": domain,
            }
            for number, (where, domain) in enumerate(found)
            if where == field
        ]
        if rows:
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{field}.parquet")
            files[field] = len(rows)
    screening = Screening(
        kind=kind,
        screening="5" * 16,
        corpora=tuple(f"main-{field}@v1" for field in FIELDS),
        documents=60,
        found=len(found),
        files=files,
        created_at=NOW.isoformat(),
    )
    write_screening(warehouse, screening)


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
    step_samples=80,
    concentration=2.0,
    gain=0.1,
    settings=None,
):
    """A run that moves from source to target, the second step of the first domain exhausted."""
    space = [[field, label] for field in FIELDS for label in taxonomy.labels]
    finished = steps if finished is None else finished
    rng = np.random.default_rng(seed)
    config = {
        "model": "llama.yaml",
        "steps": max(steps, 1),
        "step_samples": step_samples,
        "batch_size": 8,
        "exhaustion": "stop",
        "seed": seed,
        "training": {"batch_size": 8, "seed": 7},
        "environment": ENVIRONMENT,
        "note": HOSTILE,
        **(settings or {}),
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
    inner = rng.dirichlet(np.ones(half) * concentration, size=2)
    for step in range(1, steps + 1):
        target = step / (steps + 1)
        inner = 0.8 * inner + 0.2 * rng.dirichlet(np.ones(half) * concentration, size=2)
        asked = np.concatenate([(1 - target) * inner[0], target * inner[1]])
        planned = asked.copy()
        planned[[0, 1]] = 0.0, asked[0] + asked[1]
        reasons = {"0": "exhausted"} if step == 2 else {}
        planned = planned if step == 2 else asked
        samples = np.floor(planned * step_samples).astype(int)
        samples[-1] += step_samples - samples.sum()
        log.write(
            "decision",
            step=step,
            asked_N=asked.tolist(),
            planned_N=planned.tolist(),
            planned_samples_N=samples.tolist(),
            reasons=reasons,
            remarks=[],
            decided_to=step,
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
            loss_sum_N=(samples * 64 * (3.0 - 0.1 * step / steps)).tolist(),
            loss_tokens_N=(samples * 64).tolist(),
        )
        if feedback:
            log.write(
                "feedback", step=step, scores={"general": -2.0 - 0.01 * step, "maths": -4.0 + gain * step}
            )
    log.write("note", step=min(2, steps), kind="exhausted", detail=f"source/News {HOSTILE}")
    if done:
        log.write("run_done", step=finished, detail="steps done")


def add_judged(warehouse, run_id, *, step=4, task="judging", items="1" * 64, maths=(0.1, 0.2, 0.3)):
    """Scores on three items before a run and after a step; those of maths rise by as much as is said."""
    folder = warehouse.run(run_id) / "evaluations"
    folder.mkdir(exist_ok=True)
    for name, gains in (("general", [0, 0, 0]), ("maths", maths)):
        for at, more in ((0, [0] * len(gains)), (step, gains)):
            content = {
                "content": {},
                "task": f"{task}/{name}",
                "kind": "qa",
                "items_sha256": items,
                "limit": None,
                "few_shot": None,
                "step": at,
                "model": "model",
                "evaluated_at": NOW.isoformat(),
                "scores": [],
                "item_scores": [-3 + gain for gain in more],
            }
            (folder / f"step{at}-{task}-{name}.json").write_text(json.dumps(content), encoding="utf-8")


def add_farm(warehouse, *, taxonomy=SMALL, set_name="farm", paths=6, steps=4, scored=True):
    """A set whose `maths` rises by ten times the target share of a step, and `general` falls by it.

    The last trajectory's proxy departs from the usual one and falls without end.
    """
    space = tuple((field, label) for field in FIELDS for label in taxonomy.labels)
    half = len(taxonomy.labels)
    publish_set(
        warehouse,
        trajectory_set(
            space,
            (100,) * len(space),
            steps=steps,
            set_name=set_name,
            dataset="d0123456789abcde",
            step_samples=80,
        ),
    )
    rng = np.random.default_rng(5)
    for number in range(paths):
        shares = np.concatenate([[0.0], rng.beta(0.5, 0.5, size=steps)])
        inner = rng.dirichlet(np.ones(half), size=(2, steps + 1))
        mixtures = np.concatenate([(1 - shares)[:, None] * inner[0], shares[:, None] * inner[1]], axis=1)
        kind, top_k = ("inductive", 1 + 99 * (number % 2)) if number % 3 else ("segments", None)
        name = f"{kind}-{number:04d}"
        trajectory = Trajectory(trajectory_id=name, kind=kind, top_k=top_k, mixtures_TN=mixtures)
        write_trajectory(warehouse.trajectories(set_name), trajectory)
        varied = number == paths - 1
        rise = -100.0 * np.arange(steps + 1) if varied else 10 * np.cumsum(shares)
        if scored:
            write_feedback(
                warehouse,
                set_name=set_name,
                trajectory_id=name,
                objectives=("general", "maths"),
                scores_TD=np.stack([-2.0 - rise, -40.0 + rise], axis=1),
                variation="learning rate x 2" if varied else "",
            )


def paper_size(root):
    """A warehouse with the 52 domains and a run of 80 steps, as the paper's, and its farm."""
    place = Warehouse.at(root / "warehouse")
    place.root.mkdir()
    taxonomy = Taxonomy("nvidia-26", NVIDIA_26)
    for field in FIELDS:
        add_corpus(place, field, taxonomy=taxonomy)
    samples = np.random.default_rng(3).pareto(1.0, 26) * 2000 + 20
    add_dataset(place, taxonomy=taxonomy, samples=tuple(int(count) for count in samples))
    add_farm(place, taxonomy=taxonomy, paths=24, steps=80)
    regmix = {"controller": "regmix:farm", "steps": 3, "seed": 4}
    add_run(place, "regmix-1", taxonomy=taxonomy, step_samples=8000, concentration=0.35, **regmix)
    add_run(place, "agent-1", taxonomy=taxonomy, steps=80, step_samples=8000, concentration=0.35)
    return place


# First columns of tables.
HEADINGS = ("objective", "run", "domain", "corpus", "step", "controller")


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
            heads = next(row for row in rows if row and row[0] in HEADINGS)
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

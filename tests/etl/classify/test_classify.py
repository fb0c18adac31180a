"""The whole job: counts, reuse, versions, faults. Labels come along, as column:topic."""

import dataclasses
import errno
import gzip
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from dmix.etl.classify.classify import classify_corpora, field_requests
from dmix.etl.classify.label_tasks import label_part
from dmix.etl.classify.plan import CorpusRequest, plan_corpora
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.spark import pool
from dmix.warehouse_schema.errors import InputError, LockHeldError, NotFoundError, StorageError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import corpus_versions, read_corpus_version

OPEN = ClassifySettings(classifier="column:topic", taxonomy="from-data", part_bytes=2_000)
TOPICS = ("Games", "News", "Science")


def quiet(line):
    """Progress that nobody looks at."""


def documents(start, count, topics=TOPICS):
    return [{"text": f"document {i}", "topic": topics[i % len(topics)]} for i in range(start, start + count)]


def write_jsonl(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def raw(tmp_path):
    """A folder with a large, two small and a compressed input: 132 documents."""
    folder = tmp_path / "raw"
    write_jsonl(folder / "large.jsonl", documents(0, 100))
    write_jsonl(folder / "a.jsonl", documents(100, 10))
    write_jsonl(folder / "b.jsonl", documents(110, 10))
    write_jsonl(folder / "deep" / "c.jsonl.gz", documents(120, 12))
    return folder


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path / "warehouse")


@pytest.fixture
def classify(workers, warehouse):
    """The version of corpus `c-source` after classifying inputs."""

    def run(*inputs, settings=OPEN, field="source", add=False):
        request = CorpusRequest(corpus="c-source", field=field, inputs=tuple(map(str, inputs)), add=add)
        return classify_corpora(workers, warehouse, [request], settings=settings, progress=quiet)[0].version

    return run


def label_rows(warehouse, version):
    """All label rows of a version, in reading order of its files."""
    folder = warehouse.labels(version.corpus) / "parts"
    paths = [str(folder / part.fingerprint / file.name) for part in version.parts for file in part.files]
    return ds.dataset(paths).to_table().to_pylist() if paths else []


def reject_rows(warehouse, version):
    folder = warehouse.rejects(version.corpus)
    rows = []
    for part in version.parts:
        for file in part.reject_files:
            rows += pq.read_table(folder / part.fingerprint / file.name).to_pylist()
    return rows


def digests(warehouse):
    """SHA-256 of every label and reject file of a warehouse, by path."""
    return {
        str(path.relative_to(warehouse.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("labels", "rejects")
        for path in sorted((warehouse.root / folder).rglob("*.parquet"))
    }


def made(version):
    return [part.fingerprint for part in version.parts]


def test_every_document_has_one_row_with_its_label(classify, warehouse, raw):
    version = classify(raw)
    rows = label_rows(warehouse, version)
    assert version.documents == len(rows) == 132
    assert version.rejected == 0
    assert {row["text"]: row["label"] for row in rows} == {
        value["text"]: value["topic"] for value in documents(0, 132)
    }
    assert len({row["id"] for row in rows}) == 132
    assert {row["path"] for row in rows} == {"large.jsonl", "a.jsonl", "b.jsonl", "deep/c.jsonl.gz"}
    assert version.domain_documents() == {"Games": 44, "News": 44, "Science": 44}
    assert version.taxonomy.labels == TOPICS
    assert [[source.name for source in part.inputs] for part in version.parts] == [
        ["a.jsonl", "b.jsonl", "deep/c.jsonl.gz"],
        ["large.jsonl"],
    ]


def test_manifest_names_runs_hashes_and_sizes_of_its_files(classify, warehouse, raw):
    version = classify(raw)
    for part in version.parts:
        for file in part.files:
            path = warehouse.labels("c-source") / "parts" / part.fingerprint / file.name
            assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
            assert path.stat().st_size == file.size_bytes
            labels = pq.read_table(path).column("label").to_pylist()
            assert labels == [run.label for run in file.domains for _ in range(run.documents)]


def test_nothing_but_manifests_and_named_files_is_left(classify, warehouse, raw):
    version = classify(raw)
    left = {path.name for path in warehouse.labels("c-source").iterdir()}
    assert left == {"parts", "v1.json"}
    assert {path.name for path in (warehouse.labels("c-source") / "parts").iterdir()} == set(made(version))


def test_input_counts_are_labels_and_rejects(classify, warehouse, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", documents(0, 5))
    bad = [
        b"nonsense",
        b'{"text": "no topic"}',
        b'{"text": "x", "topic": ["a"]}',
        b'{"topic": "News"}',
        b"\xff",
    ]
    path.write_bytes(path.read_bytes() + b"\n".join(bad) + b"\n" + b'{"text": "last", "topic": "News"}')
    version = classify(path)
    assert (version.documents, version.rejected) == (6, 5)
    assert version.parts[0].rejected == {
        "invalid_utf8": 1,
        "malformed_json": 1,
        "missing_label": 1,
        "missing_text": 1,
        "unknown_label": 1,
    }
    found = {row["position"]: row["reason"] for row in reject_rows(warehouse, version)}
    assert found == {
        6: "malformed_json",
        7: "missing_label",
        8: "unknown_label",
        9: "missing_text",
        10: "invalid_utf8",
    }


def test_label_outside_a_given_taxonomy_is_a_reject_that_names_it(classify, warehouse, raw, tmp_path):
    (tmp_path / "mine.txt").write_text("News\nGames\n")
    settings = ClassifySettings(classifier="column:topic", taxonomy=str(tmp_path / "mine.txt"))
    version = classify(raw, settings=settings)
    assert (version.documents, version.rejected) == (88, 44)
    assert version.taxonomy.labels == ("News", "Games")
    rows = reject_rows(warehouse, version)
    assert {(row["reason"], row["detail"]) for row in rows} == {("unknown_label", "label 'Science'")}
    labels = [row["label"] for row in label_rows(warehouse, version)]
    assert labels == sorted(labels, key=("News", "Games").index)


def test_all_forms_of_input_are_read(classify, warehouse, tmp_path):
    folder = tmp_path / "mixed"
    write_jsonl(folder / "a.jsonl", documents(0, 3))
    pq.write_table(pa.Table.from_pylist(documents(3, 4)), folder / "b.parquet")
    (folder / "c.md").write_text("a text brings no label along")
    version = classify(folder)
    assert (version.documents, version.rejected) == (7, 1)
    assert reject_rows(warehouse, version)[0]["reason"] == "missing_label"


def test_same_inputs_make_no_new_version(classify, warehouse, raw):
    first = classify(raw)
    before = digests(warehouse)
    with mock.patch("dmix.etl.classify.classify.write_corpus_version") as write:
        assert classify(raw) == first
    write.assert_not_called()
    assert digests(warehouse) == before
    assert corpus_versions(warehouse, "c-source") == [1]


def test_new_file_makes_a_version_that_keeps_the_old_parts(classify, warehouse, raw):
    first = classify(raw)
    before = digests(warehouse)
    write_jsonl(raw / "new.jsonl", documents(200, 3))
    second = classify(raw)
    assert second.version == 2
    assert second.documents == 135
    assert set(made(first)) < set(made(second))
    assert before.items() <= digests(warehouse).items()
    assert read_corpus_version(warehouse, "c-source", 1).documents == 132


def test_changed_and_removed_files_redo_their_part_alone(classify, warehouse, raw):
    first = classify(raw)
    write_jsonl(raw / "a.jsonl", documents(300, 2))
    (raw / "b.jsonl").unlink()
    second = classify(raw)
    assert second.documents == 132 - 20 + 2
    assert len(set(made(first)) & set(made(second))) == 1


def test_removed_file_alone_makes_a_version_from_what_is_there(classify, raw):
    classify(raw)
    (raw / "large.jsonl").unlink()
    second = classify(raw)
    assert (second.version, second.documents) == (2, 32)


def test_folder_that_moved_is_not_classified_again(classify, warehouse, raw):
    first = classify(raw)
    moved = raw.rename(raw.parent / "elsewhere")
    assert classify(moved) == first


def test_adding_keeps_earlier_inputs_even_when_they_are_gone(classify, warehouse, raw, tmp_path):
    first = classify(raw)
    more = write_jsonl(tmp_path / "more.jsonl", documents(400, 5))
    raw.rename(tmp_path / "gone")
    second = classify(more, add=True)
    assert second.documents == 137
    assert set(made(first)) < set(made(second))
    assert classify(more, add=True) == second


def test_adding_a_known_file_by_another_way_changes_nothing(classify, raw):
    first = classify(raw)
    assert classify(raw / "deep" / "c.jsonl.gz", add=True) == first


def test_adding_with_other_settings_is_refused(classify, raw):
    classify(raw)
    other = ClassifySettings(classifier="column:text", taxonomy="from-data")
    with pytest.raises(InputError, match=r"'c-source' has other settings .*'column:topic'.*leave --add out"):
        classify(raw, settings=other, add=True)
    column = ClassifySettings(classifier="column:topic", taxonomy="from-data", text_column=("body",))
    with pytest.raises(
        InputError, match=r"'c-source' has other settings .*: --text-column.*repeat the flags"
    ):
        classify(raw, settings=column, add=True)


def test_other_settings_classify_again(classify, warehouse, raw):
    first = classify(raw)
    second = classify(raw, settings=ClassifySettings(classifier="column:text", taxonomy="from-data"))
    assert second.version == 2
    assert not set(made(first)) & set(made(second))
    assert len(second.taxonomy) == 132


def classify_pair(workers, warehouse, inputs, add=False):
    requests = field_requests(warehouse, inputs, name="p", add=add, settings=OPEN)
    outcomes = classify_corpora(workers, warehouse, requests, settings=OPEN, progress=quiet)
    return {outcome.version.field: outcome for outcome in outcomes}


def test_both_fields_share_the_taxonomy_of_their_data(workers, warehouse, raw, tmp_path):
    target = write_jsonl(tmp_path / "target.jsonl", documents(0, 4, ("Algebra", "News")))
    found = classify_pair(workers, warehouse, {"source": [str(raw)], "target": [str(target)]})
    labels = ("Algebra", "Games", "News", "Science")
    assert found["source"].version.taxonomy.labels == labels
    assert found["source"].version.taxonomy == found["target"].version.taxonomy
    assert found["target"].version.domain_documents() == {"Algebra": 2, "News": 2}

    more = write_jsonl(tmp_path / "more.jsonl", documents(0, 1, ("Zoology",)))
    again = classify_pair(workers, warehouse, {"target": [str(more)]}, add=True)
    assert again["source"].version.taxonomy.labels == (*labels, "Zoology")
    assert again["source"].version.taxonomy == again["target"].version.taxonomy
    assert made(again["source"].version) == made(found["source"].version)
    assert (again["source"].version.version, again["target"].version.version) == (2, 2)


def test_plan_says_what_would_be_done_and_writes_nothing(workers, classify, warehouse, raw):
    request = CorpusRequest(corpus="c-source", field="source", inputs=(str(raw),))
    (plan,) = plan_corpora(workers, warehouse, [request], settings=OPEN, progress=quiet)
    assert (len(plan.inputs), len(plan.kept), len(plan.to_do)) == (4, 0, 2)
    assert not warehouse.root.exists()
    classify(raw)
    write_jsonl(raw / "new.jsonl", documents(200, 3))
    (plan,) = plan_corpora(workers, warehouse, [request], settings=OPEN, progress=quiet)
    assert (len(plan.inputs), len(plan.kept), len(plan.to_do)) == (5, 2, 1)


def test_corpus_of_the_other_field_is_refused(classify, raw):
    classify(raw)
    with pytest.raises(InputError, match=r"'c-source' .*source, not target"):
        classify(raw, field="target")


def test_inputs_without_a_single_good_document_publish_nothing(classify, warehouse, tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"content": "a"}] * 3)
    with pytest.raises(InputError, match=r"missing_text 3.*columns are content.*--text-column"):
        classify(path)
    assert corpus_versions(warehouse, "c-source") == []
    with pytest.raises(InputError, match="contain no document"):
        classify(write_jsonl(tmp_path / "empty.jsonl", []))


def test_corpus_that_another_process_writes_is_locked(classify, warehouse, raw, held_elsewhere):
    with held_elsewhere(warehouse.lock_of("corpus", "c-source")) as pid:
        with (
            mock.patch("dmix.etl.classify.classify.LOCK_SECONDS", 0.1),
            pytest.raises(LockHeldError, match=str(pid)),
        ):
            classify(raw)


# ---- faults


def unbroken(executor, tmp_path, raw, settings=OPEN):
    """Digests of a run that nothing disturbs."""
    warehouse = Warehouse.at(tmp_path / "unbroken")
    classify_with(executor, warehouse, raw, settings=settings)
    return digests(warehouse)


def classify_with(executor, warehouse, raw, work=label_part, settings=OPEN):
    request = CorpusRequest(corpus="c-source", field="source", inputs=(str(raw),))
    return classify_corpora(executor, warehouse, [request], settings=settings, progress=quiet, work=work)


FAULTS = {
    "while a file is written": "dmix.etl.publishing.labels.seal",
    "before anything is published": "dmix.etl.classify.label_tasks.publish_part",
    "between the files and the record": "dmix.etl.classify.parts.publish_json",
}


@pytest.mark.parametrize("target", FAULTS.values(), ids=FAULTS)
def test_task_that_fails_once_leaves_the_bytes_of_an_unbroken_run(executor, tmp_path, raw, target):
    warehouse = Warehouse.at(tmp_path / "faulty")

    def fail_once(plan, job):
        marker = tmp_path / f"failed-{plan.fingerprint}"
        if not marker.exists():
            marker.touch()
            with mock.patch(target, side_effect=RuntimeError("injected")):
                return label_part(plan, job)
        return label_part(plan, job)

    (outcome,) = classify_with(executor, warehouse, raw, fail_once)
    assert len(list(tmp_path.glob("failed-*"))) == 2
    assert outcome.version.documents == 132
    assert digests(warehouse) == unbroken(executor, tmp_path, raw)


def test_attempts_of_one_part_at_the_same_time_agree(executor, tmp_path, raw):
    """Speculation: a second attempt publishes while the first is about to."""
    warehouse = Warehouse.at(tmp_path / "twice")

    def twice(plan, job):
        first = label_part(plan, job)
        assert label_part(plan, job) == first
        return first

    classify_with(executor, warehouse, raw, twice)
    assert digests(warehouse) == unbroken(executor, tmp_path, raw)


def test_full_disk_is_named_and_a_second_run_goes_on(executor, tmp_path, raw):
    warehouse = Warehouse.at(tmp_path / "full")

    def no_space(plan, job):
        if len(plan.inputs) > 1:
            return label_part(plan, job)
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with mock.patch("dmix.etl.publishing.labels.pq.ParquetWriter.write_table", side_effect=error):
            return label_part(plan, job)

    with pytest.raises(StorageError, match=r"No space left on device; free some space .*same command again"):
        classify_with(executor, warehouse, raw, no_space)
    assert corpus_versions(warehouse, "c-source") == []
    assert list((warehouse.labels("c-source") / ".staging" / "attempts").iterdir()) == []
    (outcome,) = classify_with(executor, warehouse, raw)
    assert (len(outcome.plan.kept), len(outcome.plan.to_do)) == (1, 1)
    assert digests(warehouse) == unbroken(executor, tmp_path, raw)


def test_input_that_vanishes_in_the_middle_is_named(executor, tmp_path, raw):
    def vanish(plan, job):
        Path(plan.inputs[-1].path).unlink()
        return label_part(plan, job)

    with pytest.raises(NotFoundError, match=r"disappeared; restore it and run the same command again"):
        classify_with(executor, Warehouse.at(tmp_path / "vanish"), raw, vanish)


def test_input_that_ends_its_worker_is_a_reject_and_the_others_are_labelled(tmp_path, raw, monkeypatch):
    monkeypatch.setattr(pool, "_START", "from tests.etl.deadly import run; run('b.jsonl')")
    workers, said = pool.WorkerPool(1), []
    warehouse = Warehouse.at(tmp_path / "deadly")
    request = CorpusRequest(corpus="c-source", field="source", inputs=(str(raw),))
    (outcome,) = classify_corpora(workers, warehouse, [request], settings=OPEN, progress=said.append)
    workers.close()
    assert (outcome.version.documents, outcome.version.rejected) == (122, 1)
    (reject,) = reject_rows(warehouse, outcome.version)
    assert (reject["path"], reject["position"], reject["reason"]) == ("b.jsonl", 1, "worker_died")
    assert any("b.jsonl ends the process" in line for line in said)


COMMAND = """
import sys
from dmix.cli.main import main
main(sys.argv[1:])
"""
IN_PIECES = dataclasses.replace(OPEN, piece_bytes=4_000)


def killed_on_spark(warehouse, folder):
    """The command on Spark gets SIGKILL when the first part is done."""
    options = (
        "--classifier column:topic --taxonomy from-data --part-bytes 2000 --piece-bytes 4000 --name c"
        " --master local[2,3]"
    )
    command = ["etl", "classify", "--source", str(folder), "--warehouse", str(warehouse.root)]
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *command, *options.split()],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        done = warehouse.labels("c-source") / ".staging" / "done"
        deadline = time.monotonic() + 120
        while not (done.is_dir() and any(done.glob("*.json"))):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)


def killed_in_one_process(warehouse, folder):
    """The job without Spark gets SIGKILL in its sixth part."""

    def die_in_the_sixth(plan, job):
        done = list((warehouse.labels("c-source") / ".staging" / "done").glob("*.json"))
        if len(done) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return label_part(plan, job)

    arguments, options = (None, warehouse, folder), {"work": die_in_the_sixth, "settings": IN_PIECES}
    job = multiprocessing.get_context("fork").Process(target=classify_with, args=arguments, kwargs=options)
    job.start()
    job.join(120)
    assert job.exitcode == -signal.SIGKILL


@pytest.mark.cluster
@pytest.mark.parametrize(("ending", "killed"), [("", killed_on_spark), (".gz", killed_in_one_process)])
def test_killed_job_goes_on_in_the_middle_of_one_large_file(workers, tmp_path, ending, killed):
    folder = write_jsonl(tmp_path / "raw" / f"large.jsonl{ending}", documents(0, 4000)).parent
    warehouse = Warehouse.at(tmp_path / "killed")
    killed(warehouse, folder)
    finished = len(list((warehouse.labels("c-source") / ".staging" / "done").glob("*.json")))
    assert corpus_versions(warehouse, "c-source") == []
    (outcome,) = classify_with(workers, warehouse, folder, settings=IN_PIECES)
    assert 0 < finished <= len(outcome.plan.kept)
    assert outcome.plan.to_do
    assert len(outcome.version.parts) == outcome.version.parts[0].piece.count > 30
    assert outcome.version.documents == 4000
    assert digests(warehouse) == unbroken(workers, tmp_path, folder, IN_PIECES)


def test_real_corpora_are_counted_in_full(workers, warehouse, test_data):
    """The math corpus: what zcat and wc count is what the manifest says."""
    folder = test_data / "corpora" / "target_math"
    stored = [path.read_bytes() for path in folder.glob("*.jsonl.gz")]
    lines = sum(gzip.decompress(content).count(b"\n") for content in stored)
    settings = ClassifySettings(classifier="column:origin", taxonomy="from-data")
    request = CorpusRequest(corpus="math", field="target", inputs=(str(folder),))
    (outcome,) = classify_corpora(workers, warehouse, [request], settings=settings, progress=quiet)
    version = outcome.version
    assert version.documents + version.rejected == lines
    assert version.rejected == 0
    assert version.domain_documents()["gsm8k_train"] == 6705

"""Corpora to streams on real Spark: nothing lost, the same bytes however it was interrupted."""

import dataclasses
import functools
import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dmix.etl.publishing.publish import STAGING, records_folder
from dmix.etl.publishing.shard_inputs import label_paths, read_texts
from dmix.etl.shard.plan import (
    estimated_tokens,
    manifest_id,
    plan_dataset,
    published_dataset,
    resolve_corpora,
    shared_inputs,
)
from dmix.etl.shard.shard import ShardSettings, shard_dataset
from dmix.etl.shard.tasks import encode_shard_input
from dmix.etl.text.tokens import load_tokenizer
from dmix.warehouse_schema.errors import InputError, LockHeldError, NotFoundError, StorageError
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.taxonomy import Taxonomy

SMALL = ShardSettings(seq_len=16, split_bytes=4_000, shard_bytes=2_048)
ONE_SPLIT = ShardSettings(seq_len=16)


def quiet(message):
    pass


def stored(warehouse, manifest):
    """{path: hash} of everything that the dataset's folder holds, but its manifest."""
    folder = warehouse.stream(manifest.dataset)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def read_back(warehouse, manifest, stream):
    """Samples of a stream as StreamingDataset reads them, shape (K, L)."""
    from streaming import StreamingDataset

    folder = warehouse.stream(manifest.dataset) / stream.path
    dataset = StreamingDataset(local=str(folder), shuffle=False, batch_size=1)
    return np.stack([dataset[i]["tokens"] for i in range(len(dataset))])


def encoded(tokenizer, texts):
    """Tokens of the texts with end-of-text after each, by a loop."""
    tokens = []
    for text in texts:
        tokens += [*tokenizer.encode([text])[0].tolist(), tokenizer.eot_id]
    return tokens


@pytest.fixture
def unbroken(published):
    """Hashes of the dataset of `pair` under SMALL, made in one go."""
    warehouse, _, manifest = published
    return stored(warehouse, manifest)


def test_streams_hold_the_texts_in_order_with_end_of_text_between(warehouse, pair, make_dataset):
    manifest = make_dataset(pair, ONE_SPLIT)
    plan = plan_dataset(warehouse, corpora=pair, settings=ONE_SPLIT)
    tokenizer = load_tokenizer("embedded")
    for stream in manifest.streams:
        splits = plan.shard_inputs.get((stream.field, stream.domain), ())
        assert len(splits) <= 1
        texts = [text for split in splits for batch in read_texts(split, batch_bytes=1000) for text in batch]
        expected = encoded(tokenizer, texts)
        assert stream.documents == len(texts)
        assert stream.tokens + stream.tail_tokens == len(expected)
        assert stream.tail_tokens == len(expected) % 16
        if stream.samples:
            samples = read_back(warehouse, manifest, stream)
            assert samples.dtype == np.uint16
            assert samples.ravel().tolist() == expected[: stream.tokens]


def test_tails_of_splits_are_packed_in_order_into_one_last_part(published):
    warehouse, pair, manifest = published
    plan = plan_dataset(warehouse, corpora=pair, settings=SMALL)
    tokenizer = load_tokenizer("embedded")
    stream = next(s for s in manifest.streams if (s.field, s.domain) == ("source", "News"))
    expected, tails = [], []
    for split in plan.shard_inputs["source", "News"]:
        tokens = encoded(tokenizer, [text for batch in read_texts(split, batch_bytes=900) for text in batch])
        full = len(tokens) // 16 * 16
        expected += tokens[:full]
        tails += tokens[full:]
    assert len(plan.shard_inputs["source", "News"]) > 3
    assert len(tails) > 16
    expected += tails[: len(tails) // 16 * 16]
    assert read_back(warehouse, manifest, stream).ravel().tolist() == expected
    assert stream.tail_tokens == len(tails) % 16
    assert stream.shards > len(plan.shard_inputs["source", "News"])


def test_a_domain_without_documents_and_one_without_a_full_sample_have_no_files(published):
    warehouse, _, manifest = published
    streams = {(s.field, s.domain): s for s in manifest.streams}
    assert [*streams] == [(f, d) for f in ("source", "target") for d in ("Games", "News", "Pets & Animals")]
    empty, short = streams["target", "Pets & Animals"], streams["target", "News"]
    assert (empty.documents, empty.samples, empty.tail_tokens, empty.files) == (0, 0, 0, ())
    assert (short.documents, short.samples, short.tail_tokens, short.files) == (1, 0, 1, ())
    folder = warehouse.stream(manifest.dataset)
    assert not (folder / empty.path).exists()
    assert not (folder / short.path).exists()
    assert streams["source", "Pets & Animals"].path.startswith("source/Pets_Animals-")


def test_running_again_does_nothing_and_says_so(published):
    warehouse, pair, first = published
    path = warehouse.stream(first.dataset) / "manifest.json"
    before, said = path.stat().st_mtime_ns, []
    again = shard_dataset(None, warehouse, corpora=pair[::-1], settings=SMALL, progress=said.append)
    assert again == first
    assert path.stat().st_mtime_ns == before
    assert said == [f"dataset {first.dataset} exists already with these settings; nothing to do"]
    assert manifest_id(first) == first.dataset


def test_any_other_input_or_setting_is_another_dataset(warehouse, pair, make_corpus):
    other = make_corpus("other-target", "target", [[("Games", "another text")]])
    plans = [plan_dataset(warehouse, corpora=pair, settings=SMALL)]
    for change in ({"seq_len": 17}, {"seed": 1}, {"split_bytes": 999}, {"shard_bytes": 4_096}):
        settings = ShardSettings(**{**SMALL.__dict__, **change})
        plans.append(plan_dataset(warehouse, corpora=pair, settings=settings))
    plans.append(plan_dataset(warehouse, corpora=[pair[0], other], settings=SMALL))
    named = ShardSettings(**{**SMALL.__dict__, "name": "mine"})
    assert plan_dataset(warehouse, corpora=pair, settings=named).dataset == plans[0].dataset
    assert len({plan.dataset for plan in plans}) == len(plans)


def test_other_processes_in_another_order_make_the_same_bytes(warehouse, pair, make_dataset, unbroken):
    assert stored(warehouse, make_dataset(pair)) == unbroken


def test_a_task_that_fails_late_is_tried_again_and_leaves_no_trace(
    executor, warehouse, pair, unbroken, tmp_path
):
    def failing(split, job):
        seconds = encode_shard_input(split, job)
        marker = tmp_path / split.fingerprint
        if split.index == 1 and split.domain == "News" and not marker.exists():
            marker.touch()
            (job.folder / STAGING / "attempts" / f"lost-{split.fingerprint}").mkdir()
            (records_folder(job.folder) / f"{split.fingerprint}.json").unlink()
            raise RuntimeError("injected")
        return seconds

    manifest = shard_dataset(executor, warehouse, corpora=pair, settings=SMALL, progress=quiet, work=failing)
    assert list(tmp_path.glob("?" * 64))
    assert stored(warehouse, manifest) == unbroken


def test_a_full_disk_is_named_and_nothing_is_published(executor, warehouse, pair):
    def on_full_disk(split, job):
        from contextlib import contextmanager
        from unittest import mock

        from dmix.etl.publishing import publish
        from dmix.etl.shard import tasks as shard_tasks

        @contextmanager
        def full(dataset):
            with publish.attempt_folder(dataset) as folder:
                (folder / f"shard.{split.index:05}.00000.mds").symlink_to("/dev/full")
                yield folder

        with mock.patch.object(shard_tasks, "attempt_folder", full):
            return shard_tasks.encode_shard_input(split, job)

    with pytest.raises(StorageError, match=r"cannot write .*No space left on device.*free some space"):
        shard_dataset(executor, warehouse, corpora=pair, settings=SMALL, progress=quiet, work=on_full_disk)
    with pytest.raises(NotFoundError):
        read_dataset_manifest(warehouse)


DRIVER = """
import sys, time
from dmix.etl.spark.session import spark_session
from dmix.etl.shard.shard import ShardSettings, shard_dataset
from dmix.etl.shard.plan import resolve_corpora
from dmix.etl.shard.tasks import encode_shard_input
from dmix.warehouse_schema.files.layout import Warehouse

def main():
    def slow(split, job):
        seconds = encode_shard_input(split, job)
        time.sleep(0.5)
        return seconds
    warehouse = Warehouse.at(sys.argv[1])
    settings = ShardSettings(seq_len=16, split_bytes=4_000, shard_bytes=2_048)
    corpora = resolve_corpora(warehouse, ())
    spark = spark_session(master="local[1]")
    shard_dataset(spark, warehouse, corpora=corpora, settings=settings, progress=print, work=slow)

main()
"""


def test_a_killed_driver_is_taken_up_and_gives_the_same_bytes(spark, warehouse, pair, unbroken):
    plan = plan_dataset(warehouse, corpora=pair, settings=SMALL)
    done = records_folder(warehouse.stream(plan.dataset))
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(warehouse.root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as driver:
        deadline = time.monotonic() + 120
        while len(list(done.glob("*.json"))) < 3 and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(driver.pid, signal.SIGKILL)
    finished = {path.stem for path in done.glob("*.json")}
    assert 3 <= len(finished) < len(plan.all_shard_inputs)
    assert published_dataset(warehouse, plan) is None
    attempted = warehouse.root / "attempted"
    attempted.mkdir()

    def noted(split, job):
        (attempted / split.fingerprint).touch()
        return encode_shard_input(split, job)

    manifest = shard_dataset(spark, warehouse, corpora=pair, settings=SMALL, progress=quiet, work=noted)
    assert finished.isdisjoint(path.name for path in attempted.iterdir())
    assert {k: v for k, v in stored(warehouse, manifest).items() if not k.startswith(STAGING)} == unbroken


def test_a_record_whose_shard_is_gone_is_made_again(executor, warehouse, pair, unbroken):
    plan = plan_dataset(warehouse, corpora=pair, settings=SMALL)
    folder = warehouse.stream(plan.dataset)
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_bytes(plan.tokenizer.json_bytes)
    for split in plan.all_shard_inputs:
        encode_shard_input(split, plan.job(folder))
    (folder / "source" / "News" / "shard.00000.00000.mds").unlink()
    said = []
    manifest = shard_dataset(executor, warehouse, corpora=pair, settings=SMALL, progress=said.append)
    assert f"{len(plan.all_shard_inputs) - 1} of {len(plan.all_shard_inputs)} groups" in said[0]
    assert stored(warehouse, manifest) == unbroken


def test_wide_vocabularies_are_stored_in_four_bytes(warehouse, pair, make_dataset, tmp_path):
    from tokenizers import Tokenizer as Reference
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    ids = {"<|endoftext|>": 0, "[UNK]": 1, "word300000": 70_000}
    reference = Reference(WordLevel(ids, unk_token="[UNK]"))
    reference.pre_tokenizer = Whitespace()
    reference.save(str(tmp_path / "tokenizer.json"))
    manifest = make_dataset(pair[1:], ShardSettings(seq_len=16, tokenizer=str(tmp_path / "tokenizer.json")))
    stream = next(s for s in manifest.streams if s.samples)
    assert manifest.token_dtype == "uint32"
    samples = read_back(warehouse, manifest, stream)
    assert samples.dtype == np.uint32
    assert samples[0].tolist() == [70_000] + [1] * 15


def test_estimates_are_near_the_truth(warehouse, pair):
    plan = plan_dataset(warehouse, corpora=pair, settings=SMALL)
    tokenizer = load_tokenizer("embedded")
    for key, estimate in estimated_tokens(plan).items():
        texts = [
            t
            for split in plan.shard_inputs[key]
            for batch in read_texts(split, batch_bytes=9**9)
            for t in batch
        ]
        assert estimate == pytest.approx(len(encoded(tokenizer, texts)), rel=0.2)


def test_a_second_job_for_the_same_dataset_is_told_who_holds_it(warehouse, pair, monkeypatch, held_elsewhere):
    monkeypatch.setattr("dmix.etl.shard.shard.held_lock", functools.partial(held_lock, timeout_seconds=0))
    plan = plan_dataset(warehouse, corpora=pair, settings=SMALL)
    with held_elsewhere(warehouse.lock_of("dataset", plan.dataset)) as pid:
        with pytest.raises(LockHeldError, match=f"dataset {plan.dataset} .*{pid}"):
            shard_dataset(None, warehouse, corpora=pair, settings=SMALL, progress=quiet)


def test_names_are_unique_and_final(warehouse, pair, make_dataset):
    first = make_dataset(pair, ShardSettings(**{**SMALL.__dict__, "name": "mine"}))
    assert read_dataset_manifest(warehouse, "mine") == first
    renamed = ShardSettings(**{**SMALL.__dict__, "name": "yours"})
    with pytest.raises(InputError, match=f"exists already as {first.dataset} and is called 'mine'"):
        shard_dataset(None, warehouse, corpora=pair, settings=renamed, progress=quiet)
    other = ShardSettings(**{**SMALL.__dict__, "name": "mine", "seed": 5})
    with pytest.raises(InputError, match=f"dataset {first.dataset} .* has the name 'mine'"):
        shard_dataset(None, warehouse, corpora=pair, settings=other, progress=quiet)
    with pytest.raises(InputError, match="looks like an id"):
        plan_dataset(warehouse, corpora=pair, settings=ShardSettings(name="0123456789abcdef"))


def test_text_that_fills_no_sample_is_refused_and_not_published(warehouse, make_corpus, make_dataset):
    corpus = make_corpus("a", "source", [[("News", "three short words")]])
    with pytest.raises(InputError, match=r"no domain has enough text .*: the largest has \d+ tokens"):
        make_dataset([corpus], ShardSettings())
    assert (
        published_dataset(warehouse, plan_dataset(warehouse, corpora=[corpus], settings=ShardSettings()))
        is None
    )


def test_a_missing_label_file_stops_the_job_before_it_starts(warehouse, pair):
    next(label_paths(warehouse, pair[0]))[0].unlink()
    with pytest.raises(NotFoundError, match="of corpus 'main-source' version 1 is missing; restore it"):
        shard_dataset(None, warehouse, corpora=pair, settings=SMALL, progress=quiet)


def test_corpora_that_do_not_fit_together_are_refused(warehouse, pair, make_corpus):
    other = make_corpus("o", "target", [[("A", "text")]], taxonomy=Taxonomy("one", ("A",)))
    empty = make_corpus("e", "target", [])
    second = make_corpus("main-source", "source", [[("News", "new")]], version=2)
    copy = make_corpus("copy", "source", [])
    for corpora, message in (
        ([], "no corpora were given"),
        ([pair[0], other], r"'main-source' has 'three' \(3 labels\), 'o' has 'one' \(1 label\)"),
        ([pair[0], empty], "corpus 'e' version 1 has no documents"),
        ([pair[0], second], "two versions of corpus 'main-source'"),
        ([pair[0], pair[0].__class__(**{**pair[0].__dict__, "corpus": "copy"})], "have the same documents"),
    ):
        with pytest.raises(InputError, match=message):
            plan_dataset(warehouse, corpora=corpora, settings=SMALL)
    assert copy.documents == 0


def test_a_missing_tokenizer_is_named(warehouse, pair):
    with pytest.raises(NotFoundError, match=r"no/such/tokenizer\.json"):
        plan_dataset(warehouse, corpora=pair, settings=ShardSettings(tokenizer="no/such/tokenizer.json"))


def test_the_only_pair_of_corpora_is_the_default(warehouse, pair, make_corpus):
    assert resolve_corpora(warehouse, ()) == tuple(pair)
    newer = make_corpus("main-source", "source", [[("News", "more")]], version=2)
    assert resolve_corpora(warehouse, ()) == (newer, pair[1])
    assert resolve_corpora(warehouse, ["main-source@v1"]) == (pair[0],)
    make_corpus("code-target", "target", [[("News", "more")]])
    with pytest.raises(
        InputError, match=r"3 corpora \(code-target, .*--corpus main-source --corpus main-target"
    ):
        resolve_corpora(warehouse, ())
    with pytest.raises(InputError, match="write NAME or NAME@vK"):
        resolve_corpora(warehouse, ["main-source@2"])
    with pytest.raises(NotFoundError, match="has no version 7"):
        resolve_corpora(warehouse, ["main-source@v7"])


def reading(version, *digests):
    """The version, as if its parts had been made of inputs with these digests."""
    parts = [
        dataclasses.replace(
            part, inputs=(dataclasses.replace(part.inputs[0], sha256=digest, name=f"{digest}.txt"),)
        )
        for part, digest in zip(version.parts, digests, strict=True)
    ]
    return dataclasses.replace(version, parts=tuple(parts))


def test_one_text_as_source_and_as_target_is_refused(warehouse, pair):
    source, target = reading(pair[0], "a", "b"), reading(pair[1], "b")
    with pytest.raises(InputError, match=r"'main-source' and .* have the same files \(b"):
        plan_dataset(warehouse, corpora=[source, target], settings=SMALL)
    other = reading(pair[1], "c")
    assert plan_dataset(warehouse, corpora=[source, other], settings=SMALL).corpora
    assert shared_inputs([source, other]) == []


def test_files_that_two_fields_share_are_named_where_each_has_others(warehouse, pair):
    (part,) = pair[1].parts
    target = reading(dataclasses.replace(pair[1], parts=(part, part)), "b", "c")
    source = reading(pair[0], "a", "b")
    (line,) = shared_inputs([source, target])
    assert line.startswith("warning: 1 file (b.txt) are in source corpus 'main-source'")
    assert plan_dataset(warehouse, corpora=[source, target], settings=SMALL).corpora

"""Inputs, labels and streams on an S3 server on this machine; tasks run one after the other, here."""

import hashlib
import json
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmix.etl.classify.classify import classify_corpora
from dmix.etl.classify.label_tasks import label_part
from dmix.etl.classify.plan import CorpusRequest
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.maintenance.gc import collect_garbage
from dmix.etl.maintenance.verify import verify_warehouse
from dmix.etl.publishing.mirror import copy_published, use_data_url
from dmix.etl.reading.sources import find_files
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.shard.shard import shard_dataset
from dmix.etl.shard.tasks import encode_shard_input
from dmix.etl.synthetic.blocks import BlockFacts, block_name, write_block
from dmix.etl.synthetic.generation import GeneratedDocument
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError, NotFoundError, StorageError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import corpus_versions, read_corpus_version
from dmix.warehouse_schema.files.storage import RemotePath

SETTINGS = ClassifySettings(
    classifier="column:topic", taxonomy="from-data", part_bytes=2_000, piece_bytes=2_000
)
SMALL = ShardSettings(seq_len=16, split_bytes=1_000, shard_bytes=1_024)


def quiet(line):
    """Progress that nobody looks at."""


@pytest.fixture
def raw(tmp_path):
    """A large file of lines, one of row groups, and a small one with a line that is none."""
    folder = tmp_path / "raw"
    (folder / "deep").mkdir(parents=True)
    rows = [{"text": f"document {i} has some words", "topic": ("Games", "News")[i % 2]} for i in range(200)]
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    (folder / "large.jsonl").write_bytes(b"".join(lines[:100]))
    (folder / "deep" / "small.jsonl").write_bytes(b"nonsense\n" + b"".join(lines[100:110]))
    pq.write_table(pa.Table.from_pylist(rows[110:]), folder / "deep" / "b.parquet", row_group_size=30)
    (folder / "notes.csv").write_text("a,b")
    return folder


@pytest.fixture
def remote_raw(raw, bucket):
    """The URL of the same files in a bucket."""
    for path in raw.rglob("*.*"):
        (RemotePath(f"{bucket}/raw") / str(path.relative_to(raw))).upload(path)
    return f"{bucket}/raw"


def test_what_a_model_wrote_is_marked_synthetic_in_a_bucket_too(tmp_path, bucket, remote_warehouse):
    facts = BlockFacts(
        model="m", digest="0" * 64, seed=0, max_tokens=9, quality="none", first=0, stop=2, generated=2,
        kept=1, empty=1, capped=0, tokens=5, tokens_kept=5,
    )  # fmt: skip
    document = GeneratedDocument(index=0, text="Rain fell on the town.", tokens=5, ended=True)
    write_block(tmp_path / block_name(0), [document], facts)
    (RemotePath(f"{bucket}/spoken") / block_name(0)).upload(tmp_path / block_name(0))
    request = CorpusRequest(corpus="c-source", field="source", inputs=(f"{bucket}/spoken",))
    (outcome,) = classify_corpora(
        None, remote_warehouse, [request], settings=ClassifySettings(), progress=quiet
    )
    assert outcome.version.synthetic
    assert outcome.version.generation["models"] == ["m"]
    assert outcome.version.generation["empty"] == 1


@pytest.fixture
def remote_warehouse(tmp_path, bucket):
    warehouse = Warehouse.at(tmp_path / "warehouse")
    use_data_url(warehouse, f"{bucket}/data/")
    return warehouse


def classify(warehouse, *inputs, work=label_part):
    request = CorpusRequest(corpus="c-source", field="source", inputs=tuple(map(str, inputs)))
    (outcome,) = classify_corpora(None, warehouse, [request], settings=SETTINGS, progress=quiet, work=work)
    return outcome


def shard(warehouse, version, work=encode_shard_input):
    return shard_dataset(None, warehouse, corpora=[version], settings=SMALL, progress=quiet, work=work)


def stored(warehouse):
    """SHA-256 of every label, reject and stream file, by path, wherever they lie."""
    if isinstance(warehouse.data, RemotePath):
        found = {f.path.relative_to(warehouse.data): f.path.read_bytes() for f in warehouse.data.files()}
    else:
        paths = [p for p in warehouse.root.rglob("*") if p.is_file()]
        found = {str(p.relative_to(warehouse.root)): p.read_bytes() for p in paths}
    kept = (".parquet", ".mds", "index.json", "tokenizer.json")
    return {name: hashlib.sha256(c).hexdigest() for name, c in found.items() if name.endswith(kept)}


def test_remote_folder_gives_the_names_and_hashes_of_the_same_files_here(raw, remote_raw, tmp_path):
    here, there = find_files([str(raw)]), find_files([remote_raw])
    assert [(f.name, f.size_bytes, f.format) for f in here.files] == [
        (f.name, f.size_bytes, f.format) for f in there.files
    ]
    assert there.skipped == {".csv": 1}
    assert there.files[0].path == f"{remote_raw}/deep/b.parquet"
    (one,) = find_files([f"{remote_raw}/large.jsonl"]).files
    assert (one.name, one.size_bytes) == ("large.jsonl", (raw / "large.jsonl").stat().st_size)


def test_remote_inputs_become_the_labels_of_the_same_files_here(raw, remote_raw, tmp_path):
    local, remote = (Warehouse.at(tmp_path / name) for name in ("local", "remote"))
    first = classify(local, raw).version
    second = classify(remote, remote_raw).version
    assert [part.fingerprint for part in first.parts] == [part.fingerprint for part in second.parts]
    assert (second.documents, second.rejected) == (200, 1)
    assert sum(part.piece is not None for part in second.parts) == 4
    assert stored(local) == stored(remote)


def test_remote_inputs_that_are_not_there_are_named(bucket, remote_raw):
    with pytest.raises(NotFoundError, match=rf"{bucket}/nothing does not exist or is empty; check the"):
        find_files([f"{bucket}/nothing"])
    with pytest.raises(InputError, match="only for local paths"):
        find_files([f"{bucket}/raw/*.jsonl"])
    with pytest.raises(InputError, match="ending that dmix does not read"):
        find_files([f"{remote_raw}/notes.csv"])


def test_store_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
    with (
        mock.patch("dmix.warehouse_schema.files.storage._CONNECT_SECONDS", 0.2),
        pytest.raises(StorageError, match=r"cannot reach s3://b/x: .*check the address, S3_ENDPOINT_URL"),
    ):
        find_files(["s3://b/x"])


def test_remote_input_that_vanishes_is_named(tmp_path, remote_raw):
    def vanish(plan, job):
        RemotePath(plan.inputs[0].path).unlink()
        return label_part(plan, job)

    with pytest.raises(
        NotFoundError, match=r"s3://\S+ disappeared; restore it and run the same command again"
    ):
        classify(Warehouse.at(tmp_path / "w"), remote_raw, work=vanish)


def test_remote_labels_and_streams_are_the_bytes_of_local_ones(raw, tmp_path, remote_warehouse):
    local = Warehouse.at(tmp_path / "local")
    first, second = classify(local, raw).version, classify(remote_warehouse, raw).version
    assert first.parts == second.parts
    manifests = [shard(local, first), shard(remote_warehouse, second)]
    assert manifests[0].streams == manifests[1].streams
    assert stored(local) == stored(remote_warehouse)
    here = {p.suffix for p in (remote_warehouse.root / "streams").rglob("*") if p.is_file()}
    assert here == {".json"}
    sync(remote_warehouse)
    with Catalog.open_reader(remote_warehouse) as catalog:
        assert catalog.query("select reason, count(*) from rejects group by 1")[1] == [("malformed_json", 1)]
    report = verify_warehouse(remote_warehouse, dataset=None, progress=quiet)
    assert (report.problems, report.files > 15) == ((), True)


def test_jobs_that_stop_in_the_middle_go_on_from_remote_records(raw, tmp_path, remote_warehouse):
    calls = []

    def stop_after_three(work):
        def limited(plan, job):
            if len(calls) == 3:
                raise StorageError("stopped")
            calls.append(plan.fingerprint)
            return work(plan, job)

        return limited

    with pytest.raises(StorageError, match="stopped"):
        classify(remote_warehouse, raw, work=stop_after_three(label_part))
    assert corpus_versions(remote_warehouse, "c-source") == []
    outcome = classify(remote_warehouse, raw)
    assert {part.fingerprint for part in outcome.plan.kept} == set(calls)
    calls.clear()
    with pytest.raises(StorageError, match="stopped"):
        shard(remote_warehouse, outcome.version, work=stop_after_three(encode_shard_input))
    again = []

    def counted(split, job):
        again.append(split.fingerprint)
        return encode_shard_input(split, job)

    shard(remote_warehouse, outcome.version, work=counted)
    assert not set(again) & set(calls)
    local = Warehouse.at(tmp_path / "local")
    shard(local, classify(local, raw).version)
    assert stored(remote_warehouse) == stored(local)


def test_verify_finds_and_gc_removes_what_no_remote_manifest_names(raw, remote_warehouse, bucket):
    manifest = shard(remote_warehouse, classify(remote_warehouse, raw).version)
    sync(remote_warehouse)
    data = RemotePath(f"{bucket}/data")
    stream = next(stream for stream in manifest.streams if stream.samples)
    folder = data / "streams" / manifest.dataset / stream.path
    shard_file = folder / stream.files[1].name
    content = shard_file.read_bytes()
    shard_file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    stray, lost = folder / "shard.99999.00000.mds", data / "labels" / "dead" / "parts" / "x" / "00000.parquet"
    for place in (stray, lost):
        place.write_bytes(b"left")
    problems = verify_warehouse(remote_warehouse, dataset=None, progress=quiet).problems
    assert {(problem.kind, problem.path) for problem in problems} == {
        ("hash", str(shard_file)),
        ("orphan", str(stray)),
    }
    shard_file.write_bytes(content)
    found = collect_garbage(remote_warehouse, dry_run=True).found
    assert {garbage.path for garbage in found} == {stray, lost}
    collect_garbage(remote_warehouse, dry_run=False)
    assert not stray.is_file() and not lost.is_file()
    assert verify_warehouse(remote_warehouse, dataset=None, progress=quiet).problems == ()


def test_another_machine_takes_over_what_is_published_and_reads_it(raw, remote_warehouse, tmp_path, bucket):
    manifest = shard(remote_warehouse, classify(remote_warehouse, raw).version)
    other = Warehouse.at(tmp_path / "other")
    use_data_url(other, f"{bucket}/data")
    assert read_corpus_version(other, "c-source") == read_corpus_version(remote_warehouse, "c-source")
    assert classify(other, raw).published is False
    assert collect_garbage(other, dry_run=True).found == ()
    assert other.stream_url(manifest.dataset) == f"{bucket}/data/streams/{manifest.dataset}"
    assert (other.stream(manifest.dataset) / "tokenizer.json").is_file()


def test_place_of_data_is_chosen_once(raw, remote_warehouse, tmp_path, bucket):
    use_data_url(remote_warehouse, f"{bucket}/data")
    with pytest.raises(InputError, match=r"are in s3://\S+/data, not in s3://\S+/x"):
        use_data_url(remote_warehouse, f"{bucket}/x")
    local = Warehouse.at(tmp_path / "local")
    classify(local, raw)
    with pytest.raises(InputError, match="leave --data-url out, or give another --warehouse"):
        use_data_url(local, f"{bucket}/data")
    with pytest.raises(InputError, match="is not a remote folder; write for example s3://bucket/folder"):
        use_data_url(Warehouse.at(tmp_path / "new"), str(tmp_path))


def test_a_manifest_at_another_depth_of_a_store_is_not_copied(tmp_path, bucket, make_corpus):
    make_corpus("x", "source", [[("News", "a")]])
    content = (tmp_path / "warehouse/labels/x/v1.json").read_bytes()
    folder, name = RemotePath(f"{bucket}/data"), "labels/x/v1.json"
    (folder / f"labels/deep/{name}").write_bytes(content)
    here = Warehouse.at(tmp_path / "here")
    use_data_url(here, folder.url)
    assert list(here.root.rglob("v1.json")) == []
    (folder / name).write_bytes(content)
    assert copy_published(here) == 1
    assert (here.root / name).read_bytes() == content

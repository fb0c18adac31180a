"""`dmix etl shard`, `start-state`, `verify` and `gc` as a user types them, after `dmix etl classify`."""

import gzip
import json
import shutil

import pytest

from dmix.cli.main import run
from dmix.warehouse_schema.files.storage import RemotePath


def words(start, count):
    return " ".join(f"word{start * 100 + i}" for i in range(count))


@pytest.fixture(scope="session")
def classified(tmp_path_factory):
    """A warehouse with the corpora main-source and main-target; not to be changed."""
    folder = tmp_path_factory.mktemp("classified")
    records = {
        "source": [{"text": words(i, 30), "label": ("Games", "News")[i % 2]} for i in range(20)],
        "target": [{"text": words(100 + i, 50), "label": "News"} for i in range(12)],
    }
    for field, lines in records.items():
        (folder / f"{field}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["etl", "classify", "--classifier", "column:label", "--taxonomy", "from-data"]
    inputs = ["--source", str(folder / "source.jsonl"), "--target", str(folder / "target.jsonl")]
    assert run([*command, *inputs, "--warehouse", str(folder / "warehouse")]) == 0
    return folder / "warehouse"


@pytest.fixture
def dmix(classified, tmp_path, capsys):
    """Runs a command on a copy of `classified`: (exit code, stdout, stderr)."""
    warehouse = tmp_path / "warehouse"
    shutil.copytree(classified, warehouse)
    capsys.readouterr()

    def call(*arguments):
        code = run([*arguments, "--warehouse", str(warehouse)])
        output = capsys.readouterr()
        return code, output.out, output.err

    call.warehouse = warehouse
    return call


SHARD = ("etl", "shard", "--seq-len", "16", "--name", "small")


def test_shard_shows_domains_and_fields_and_fills_the_catalog(dmix):
    code, out, err = dmix(*SHARD)
    assert code == 0, err
    assert "domains with samples" in out and "effective number, by samples" in out
    assert "encoded " in err and "shard input" not in err and "per worker" not in err
    assert "document share" in out
    assert "dataset" in err
    code, out, _ = dmix("etl", "start-state", "--dataset", "small", "--json")
    value = json.loads(out)
    assert [field["active"] for field in value["fields"]] == [2, 1]
    sql = "select field, domain, documents, samples, tokens, tail_tokens from domain_tokens order by all"
    code, out, _ = dmix("sql", sql, "--format", "json")
    counted = [tuple(row.values()) for row in json.loads(out)]
    shown = [
        (d["field"], d["domain"], d["documents"], d["samples"], d["tokens"], d["tail_tokens"])
        for d in value["domains"]
    ]
    assert counted == sorted(shown)
    assert sum(row[2] for row in counted) == 32


def test_shard_again_makes_nothing_and_says_so(dmix):
    code, out, _ = dmix(*SHARD, "--json")
    first = json.loads(out)
    assert (code, first["existed"]) == (0, False)
    code, out, err = dmix(*SHARD, "--json")
    assert code == 0
    assert json.loads(out) == {**first, "existed": True}
    assert "exists already with these settings; nothing to do" in err


def test_shard_takes_its_settings_from_a_file_and_flags_win(dmix, tmp_path):
    config = tmp_path / "shard.yaml"
    config.write_text("seq-len: 32\ncorpus: [main-target@v1]\n")
    code, out, err = dmix("etl", "shard", "--config", str(config), "--seq-len", "20", "--json")
    assert code == 0, err
    value = json.loads(out)
    assert value["seq_len"] == 20
    assert {d["field"] for d in value["domains"] if d["documents"]} == {"target"}


def test_a_dry_run_shows_splits_and_tokens_and_writes_nothing(dmix):
    code, out, err = dmix(*SHARD, "--dry-run", "--json")
    value = json.loads(out)
    assert code == 0
    assert not value["exists"]
    assert sum(domain["documents"] for domain in value["domains"]) == 32
    assert all(domain["estimated_tokens"] > 0 for domain in value["domains"])
    assert not (dmix.warehouse / "streams").exists()
    code, out, err = dmix(*SHARD, "--dry-run")
    assert "would be new: 3 shard inputs" in err


def test_verify_passes_then_finds_a_flipped_byte_with_exit_code_4(dmix):
    assert dmix(*SHARD)[0] == 0
    code, _, err = dmix("etl", "verify")
    assert code == 0, err
    assert "all agree with their manifests" in err
    shard = next(dmix.warehouse.glob("streams/*/source/News/shard.*.mds"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(bytes(content))
    code, out, err = dmix("etl", "verify", "--json")
    assert code == 4
    (problem,) = json.loads(out)["problems"]
    assert problem["kind"] == "hash"
    assert problem["path"] == str(shard.relative_to(dmix.warehouse))
    code, out, err = dmix("etl", "verify")
    assert code == 4
    assert str(shard.relative_to(dmix.warehouse)) in out
    assert "1 problem in" in err and "run 'dmix etl shard' again" in err
    assert "dmix etl classify" not in err and "dmix etl gc" not in err


def test_verify_advises_each_remedy_that_is_needed_once_and_shows_whole_paths(dmix):
    assert dmix(*SHARD)[0] == 0
    labels = sorted(dmix.warehouse.glob("labels/*/parts/*/*.parquet"))
    for path in labels:
        path.unlink()
    (next(dmix.warehouse.glob("streams/*/source")) / "stray").touch()
    code, out, err = dmix("etl", "verify")
    assert code == 4
    for path in labels:
        assert str(path.relative_to(dmix.warehouse)) in out
    advice = err.partition(" files: ")[2].strip().split("; ")
    assert len(advice) == 2
    for command in ("dmix etl classify", "dmix etl gc"):
        assert sum(command in remedy for remedy in advice) == 1


def test_what_verify_advises_for_streams_repairs_them(dmix):
    assert dmix(*SHARD)[0] == 0
    shard = next(dmix.warehouse.glob("streams/*/source/News/shard.*.mds"))
    before = shard.read_bytes()
    shard.unlink()
    assert dmix("etl", "verify")[0] == 4
    next(dmix.warehouse.glob("streams/*/manifest.json")).unlink()
    assert dmix(*SHARD)[0] == 0
    assert shard.read_bytes() == before
    assert dmix("etl", "verify")[0] == 0


def test_what_verify_advises_for_label_files_repairs_them(dmix, classified):
    label_file = next(dmix.warehouse.glob("labels/main-target/parts/*/*.parquet"))
    before = label_file.read_bytes()
    label_file.unlink()
    code, _, err = dmix(*SHARD)
    assert code == 2
    assert "is missing; restore it from a copy, or run 'dmix etl classify' again" in err
    command = ["etl", "classify", "--classifier", "column:label", "--taxonomy", "from-data"]
    code, _, err = dmix(*command, "--target", str(classified.parent / "target.jsonl"))
    assert code == 0, err
    assert label_file.read_bytes() == before


def test_gc_shows_and_then_removes_what_no_manifest_names(dmix):
    assert dmix(*SHARD)[0] == 0
    stray = next(dmix.warehouse.glob("streams/*")) / ".staging" / "lost"
    stray.mkdir(parents=True)
    code, out, err = dmix("etl", "gc", "--dry-run")
    assert code == 0
    assert ".staging" in out
    assert "would be removed" in err
    assert stray.is_dir()
    code, out, err = dmix("etl", "gc", "--json")
    assert code == 0
    assert json.loads(out)["removed"]
    assert not stray.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seq-len", "1"), "--seq-len is 1, expected at least 2"),
        (("--tokenizer", "missing.json"), "missing.json"),
        (("--corpus", "nope"), "corpus 'nope' is not in"),
        (("--corpus", "main-source@v9"), "has no version 9"),
        (("--name", "a/b"), "dataset name 'a/b' cannot be a folder"),
        (("--shard-bytes", "100"), "--shard-bytes is 100"),
        (("--seq-len", "100000"), "no domain has enough text"),
    ],
)
def test_bad_input_is_named_with_exit_code_2(dmix, arguments, message):
    code, _, err = dmix("etl", "shard", *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not list(dmix.warehouse.glob("streams/*/manifest.json"))


def test_a_missing_warehouse_is_named(tmp_path, capsys):
    assert run(["etl", "shard", "--warehouse", str(tmp_path / "none")]) == 2
    assert "does not exist; run 'dmix etl classify' first" in capsys.readouterr().err


def test_remote_inputs_labels_and_streams_from_end_to_end(bucket, tmp_path, capsys):
    lines = [{"text": words(i, 30), "label": ("Games", "News")[i % 2]} for i in range(20)]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    RemotePath(f"{bucket}/raw/a.jsonl").write_bytes(content)
    RemotePath(f"{bucket}/raw/deep/b.jsonl.gz").write_bytes(gzip.compress(content))
    warehouse = ("--warehouse", str(tmp_path / "warehouse"))
    column = ("--classifier", "column:label", "--taxonomy", "from-data")
    classify = ("etl", "classify", "--source", f"{bucket}/raw", *column, "--data-url", f"{bucket}/data")
    assert run([*classify, *warehouse]) == 0, capsys.readouterr().err
    assert run([*SHARD, "--corpus", "main-source", *warehouse]) == 0, capsys.readouterr().err
    assert not list((tmp_path / "warehouse").rglob("*.mds"))
    stored = {file.path.name for file in RemotePath(f"{bucket}/data").files()}
    assert {"v1.json", "manifest.json", "tokenizer.json", "index.json", "shard.00000.00000.mds"} <= stored
    capsys.readouterr()
    assert run(["etl", "verify", *warehouse]) == 0
    assert "all agree with their manifests" in capsys.readouterr().err
    RemotePath(f"{bucket}/data/streams/left/source/News/shard.00000.00000.mds").write_bytes(b"left")
    assert run(["etl", "gc", "--json", *warehouse]) == 0
    assert len(json.loads(capsys.readouterr().out)["found"]) == 1

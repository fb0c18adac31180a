import json
import os
from pathlib import Path

import pytest

import dmix
from dmix.etl.classifiers.registry import classifier_spec
from dmix.mixing.agent.folders import agent_folder
from dmix.mixing.effects.store import read_effects
from dmix.mixing.trajectories.feedback import load_feedback
from dmix.mixing.trajectories.store import read_set
from dmix.training.run.request import resolve_model, run_config_file
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifest_json import altered
from dmix.warehouse_schema.files.manifests import (
    read_corpus_version,
    read_dataset_manifest,
    write_corpus_version,
)
from dmix.warehouse_schema.files.names import (
    from_home,
    inner_path,
    links_below,
    plain_name,
    printable_json,
    refuse_credentials,
    refuse_links,
    special_below,
    without_credentials,
)
from dmix.warehouse_schema.files.screenings import find_screening

OUTSIDE = ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "../x", "a\\b", "a\0b", None, 3, ["a"], "x" * 256]


@pytest.mark.parametrize("value", OUTSIDE)
def test_a_name_that_leaves_its_folder_is_refused(value):
    with pytest.raises(InputError, match="contains the shard"):
        plain_name(value, what="shard", where="m.json")


@pytest.mark.parametrize("value", ["", "/a", "a//b", "a/../b", "a/.b", "..", "a/", 3])
def test_a_path_that_leaves_its_folder_is_refused(value):
    with pytest.raises(InputError, match="contains the stream"):
        inner_path(value, what="stream", where="m.json")


def test_plain_names_and_inner_paths_are_given_back():
    assert plain_name("shard.00000.mds", what="x", where="y") == "shard.00000.mds"
    assert inner_path("source/Games", what="x", where="y") == "source/Games"


def edited(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def of_part(key, name):
    def change(value):
        value["parts"][0][key] = [{"name": name, "sha256": "x", "size_bytes": 1, "domains": []}]

    return change


@pytest.mark.parametrize(
    "change",
    [
        of_part("files", "../../evil"),
        of_part("reject_files", "/etc/cron.d/x"),
        lambda value: value["parts"][0].update(fingerprint="../.."),
        lambda value: value.update(field="../source"),
        lambda value: value.update(corpus="../main"),
        lambda value: value.update(corpus="other"),
        lambda value: value.update(version=7),
    ],
)
def test_a_corpus_that_names_what_lies_elsewhere_is_refused(full_warehouse, change):
    edited(full_warehouse.labels("main-source") / "v1.json", change)
    with pytest.raises(InputError):
        read_corpus_version(full_warehouse, "main-source", 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["streams"][0].update(field="/any/folder"),
        lambda value: value["streams"][0].update(path="../../x"),
        lambda value: value["streams"][0].update(domain=value["streams"][1]["domain"]),
        lambda value: value["streams"].append(value["streams"][0]),
        lambda value: value["streams"][-1].update(
            files=[{"name": "../x", "size_bytes": 1, "sha256": "x", "samples": 1}]
        ),
        lambda value: value["corpora"][0].update(corpus="../.."),
        lambda value: value.update(streams=3),
    ],
)
def test_a_dataset_that_names_what_lies_elsewhere_is_refused(full_warehouse, change):
    [path] = full_warehouse.root.glob("streams/*/manifest.json")
    edited(path, change)
    with pytest.raises(InputError):
        read_dataset_manifest(full_warehouse)


def test_a_manifest_that_was_edited_is_told_by_its_digest(warehouse, make_corpus):
    version = make_corpus()
    path = write_corpus_version(warehouse, version)
    assert not altered(path)
    assert read_corpus_version(warehouse, version.corpus) == version
    edited(path, lambda value: value.update(classifier="another"))
    assert altered(path)
    edited(path, lambda value: value.pop("digest"))
    assert not altered(path)


def test_pipes_are_refused_and_named(tmp_path):
    (tmp_path / "streams" / "abc").mkdir(parents=True)
    pipe = tmp_path / "streams" / "abc" / "index.json"
    os.mkfifo(pipe)
    assert list(special_below(tmp_path)) == [pipe]
    assert not list(links_below(tmp_path))
    with pytest.raises(InputError, match="is a pipe"):
        refuse_links(tmp_path)


def test_links_are_followed_at_the_top_alone(tmp_path):
    outside = tmp_path / "scratch"
    outside.mkdir()
    warehouse = Warehouse.at(tmp_path / "w")
    warehouse.root.mkdir()
    (warehouse.root / "streams").symlink_to(outside)
    refuse_links(warehouse.stream("abc"))
    (outside / "abc").mkdir()
    (outside / "abc" / "source").symlink_to(tmp_path)
    assert [link.name for link in links_below(warehouse.root / "streams" / "abc")] == ["source"]
    with pytest.raises(InputError, match="source is a link to"):
        refuse_links(warehouse.stream("abc"))
    (warehouse.root / "runs").mkdir()
    (warehouse.root / "runs" / "r1").symlink_to(outside)
    with pytest.raises(InputError, match="r1 is a link to"):
        warehouse.run("r1")


def test_links_of_a_hub_cache_that_stay_inside_are_fine(tmp_path):
    model = tmp_path / "model"
    (model / "blobs").mkdir(parents=True)
    (model / "blobs" / "abc").write_text("weights")
    (model / "model.safetensors").symlink_to("blobs/abc")
    refuse_links(model, inside=model)
    (model / "config.json").symlink_to("../elsewhere.json")
    with pytest.raises(InputError, match="is a link to"):
        refuse_links(model, inside=model)


@pytest.mark.parametrize(
    "url",
    [
        "s3://KEYID:SECRET@bucket/folder",
        "s3://SECRET@bucket/folder",
        "gs://TOKEN:SECRET@bucket/x",
        "sftp://user:SECRET@host/x",
        "https://host/x?X-Amz-Signature=SECRET",
        "s3://bucket/x?secret_key=SECRET",
        "https://host/x?sig=SECRET",
        "https://SECRET@host/x",
        "hf://SECRET@owner/name",
        "https://host/x?pwd=SECRET",
        "https://host/x?auth=SECRET",
        "https://host/x;password=SECRET",
        "https://host/x?a=1;token=SECRET",
        "//user:SECRET@host/x",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url):
    with pytest.raises(InputError, match="credentials in its URL") as error:
        refuse_credentials(url, what="--data-url")
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a",
        "s3://bucket/a@b",
        "sftp://user@host/x",
        "https://h/x?page=2",
        "/tmp/a?b",
        "s3://[",
        "abfs://c@h/x;y=1",
    ],
)
def test_plain_urls_pass(url):
    refuse_credentials(url, what="x")


READERS = {
    "agents/x": lambda warehouse: agent_folder(warehouse, "x"),
    "trajectories/x": lambda warehouse: read_set(warehouse, "x"),
    "feedback/x": lambda warehouse: load_feedback(warehouse, "x"),
    "effects/x": lambda warehouse: read_effects(warehouse, "x"),
    "duplicates/x": lambda warehouse: find_screening(warehouse, "duplicates", "x"),
    "contamination/x": lambda warehouse: find_screening(warehouse, "contamination", "x"),
    "classifiers/x": lambda warehouse: classifier_spec(
        "distilled:x", taxonomy=None, distilled=warehouse.classifiers
    ),
    "runs/x": lambda warehouse: run_config_file(warehouse, "x"),
    "models/x": lambda warehouse: resolve_model("x", warehouse),
}


@pytest.mark.parametrize("folder", READERS)
def test_a_link_inside_a_folder_is_refused_by_whoever_reads_it(folder, tmp_path):
    warehouse = Warehouse.at(tmp_path / "w")
    inside = warehouse.root / folder / "deep"
    inside.mkdir(parents=True)
    for name in ("config.json", "set.json", "effects.json", "model.safetensors", "config.yaml"):
        (inside.parent / name).write_text("{}")
    (inside / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="link is a link to"):
        READERS[folder](warehouse)


@pytest.mark.parametrize("folder", READERS)
def test_a_folder_that_is_a_link_is_refused_by_whoever_reads_it(folder, tmp_path):
    warehouse, outside = Warehouse.at(tmp_path / "w"), tmp_path / "outside"
    outside.mkdir()
    for name in ("config.json", "set.json", "effects.json", "model.safetensors", "config.yaml"):
        (outside / name).write_text("{}")
    (warehouse.root / folder).parent.mkdir(parents=True)
    (warehouse.root / folder).symlink_to(outside)
    with pytest.raises(InputError, match="x is a link to"):
        READERS[folder](warehouse)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://KEY:SE/CRET@bucket/x", "s3://…@bucket/x"),
        ("s3:/KEY:SECRET@bucket", "s3:/…@bucket"),
        ("s3://[KEY:SECRET@bucket", "s3://…@bucket"),
        ("hdfs://user%3ASECRET@host/x", "hdfs://…@host/x"),
        ("https://user:SE'CRET@host/x", "https://…@host/x"),
        ("//user:SECRET@host/x", "//…@host/x"),
        ("https://host/x?jwt=SECRET;b=2", "https://host/x?jwt=…;b=2"),
        ("https://host/x#access_token=SECRET", "https://host/x#access_token=…"),
        ("https://host/x?a=1&AWSAccessKeyId=SECRET&b=2", "https://host/x?a=1&AWSAccessKeyId=…&b=2"),
    ],
)
def test_credentials_of_odd_forms_are_refused_and_hidden_in_messages(url, shown):
    with pytest.raises(InputError, match="credentials in its URL") as error:
        refuse_credentials(url, what="--data-url")
    assert "SECRET" not in str(error.value)
    assert without_credentials(f"cannot reach {url} now") == f"cannot reach {shown} now"


@pytest.mark.parametrize(
    "url",
    [
        "hdfs://host:8020/user/a@b",
        "s3://arn:aws:s3:us-east-1:1:accesspoint/x/a",
        "s3://bucket/a:b@c",
        "/data/run:1/a@b",
        "file.py:12: x@y",
    ],
)
def test_ports_and_paths_are_no_credentials(url):
    refuse_credentials(url, what="x")
    assert without_credentials(f"see {url}") == f"see {url}"


def test_json_for_a_terminal_means_the_same():
    value = {"a": "\x9b2J\u202e\x1b\ud800é"}
    shown = printable_json(json.dumps(value, indent=1, ensure_ascii=False))
    assert shown == '{\n "a": "\\u009b2J\\u202e\\u001b\\ud800é"\n}'
    assert json.loads(shown) == value


def test_a_home_folder_that_nobody_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert from_home("~/x") == tmp_path / "x" and from_home("a/~b") == Path("a/~b")
    with pytest.raises(InputError, match="knows no home folder for ~nobody-here; give the whole path"):
        from_home("~nobody-here/x")


def test_only_from_home_reads_a_tilde():
    root = Path(dmix.__file__).parent
    modules = [path for folder in root.iterdir() if folder.is_dir() for path in folder.rglob("*.py")]
    found = [path for path in modules if ".expanduser(" in path.read_text(encoding="utf-8")]
    assert len(modules) > 100 and [path.name for path in found] == ["names.py"]

"""URLs as paths, and what is said of a store that cannot be reached; transfers: tests/etl/test_remote.py."""

from unittest import mock

import pytest

from dmix.warehouse_schema.errors import InputError, StorageError
from dmix.warehouse_schema.files import storage
from dmix.warehouse_schema.files.storage import RemotePath, is_url


@pytest.fixture(autouse=True)
def nothing_kept():
    """File systems are made anew, with the variables of the test."""
    caches = (storage._s3, storage._gs, storage._hdfs)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("root", ["s3://bucket", "gs://bucket", "hdfs://node:8020", "hdfs://"])
def test_urls_of_all_stores_are_paths(root):
    folder = RemotePath.at(f"{root}/a/b/")
    assert str(folder) == f"{root}/a/b"
    file = folder / "c" / "d.jsonl"
    assert (file.url, file.name, file.parent.url) == (f"{root}/a/b/c/d.jsonl", "d.jsonl", f"{root}/a/b/c")
    assert file.relative_to(folder) == "c/d.jsonl"


@pytest.mark.parametrize("url", ["s3://", "gs:///", "hdfs://", "ftp://host/a", "/a/b", "s3:/bucket"])
def test_url_without_a_place_or_of_another_kind_is_refused(url):
    with pytest.raises(InputError, match="is not a remote folder; write for example s3://bucket/folder"):
        RemotePath.at(url)


def test_local_paths_are_no_urls():
    assert not is_url("/a/s3://b") and not is_url("a.jsonl") and not is_url("http://host/a")


@pytest.mark.parametrize(
    ("url", "node", "path"),
    [("hdfs://node:8020/a/b", "hdfs://node:8020/", "/a/b"), ("hdfs:///a/b", "hdfs:///", "/a/b")],
)
def test_hdfs_files_are_named_from_the_root_of_their_name_node(url, node, path):
    with mock.patch("pyarrow.fs.FileSystem") as systems:
        systems.from_uri.return_value = ("system", "/")
        assert storage._filesystem(url) == ("system", path)
    systems.from_uri.assert_called_once_with(node)


def test_gs_asks_for_a_minute_and_takes_an_emulator_without_credentials(monkeypatch):
    with mock.patch("pyarrow.fs.GcsFileSystem", return_value="system") as made:
        assert storage._filesystem("gs://bucket/a") == ("system", "bucket/a")
        assert made.call_args.kwargs.keys() == {"retry_time_limit"}
        for value in ("http://host:9023", "host:9023"):
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", value)
            storage._filesystem("gs://bucket/a")
            wanted = {"endpoint_override": "host:9023", "scheme": "http", "anonymous": True}
            assert wanted.items() <= made.call_args.kwargs.items()


def test_hdfs_without_java_or_its_library_says_what_is_missing(monkeypatch, tmp_path):
    for name in ("JAVA_HOME", "HADOOP_HOME", "ARROW_LIBHDFS_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(
        StorageError, match=r"cannot reach hdfs://127.0.0.1:9/a: .*JAVA_HOME.*HADOOP_HOME.*hadoop classpath"
    ):
        RemotePath.at("hdfs://127.0.0.1:9/a").read_bytes()


def test_gs_that_does_not_answer_names_the_credentials(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:9")
    monkeypatch.setattr(storage, "_REQUEST_SECONDS", 0.2)
    with pytest.raises(
        StorageError, match=r"cannot reach gs://b/x: .*the credentials \(GOOGLE_APPLICATION_CREDENTIALS\)"
    ):
        RemotePath.at("gs://b/x").read_bytes()

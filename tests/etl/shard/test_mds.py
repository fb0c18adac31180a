"""Our shards are the bytes that Streaming's own writer makes, and their headers can be checked."""

import json

import numpy as np
import pytest

from dmix.etl.shard.mds import ShardFormat, ShardWriter, header_problem
from dmix.warehouse_schema.errors import InputError


def written(folder, samples, *, shard_format, part=0, calls=3):
    folder.mkdir()
    writer = ShardWriter(folder, format=shard_format, part=part)
    for piece in np.array_split(samples, calls):
        writer.write(piece)
    return writer.finish()


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("samples", [1, 7, 100])
def test_shards_and_index_entries_are_those_of_mds_writer(tmp_path, dtype, samples):
    from streaming import MDSWriter

    values = np.random.default_rng(0).integers(0, 60_000, (samples, 12)).astype(dtype)
    shard_format = ShardFormat(seq_len=12, dtype=dtype, shard_bytes=1500)
    files = written(tmp_path / "ours", values, shard_format=shard_format)
    columns = {"tokens": f"ndarray:{dtype}:12"}
    with MDSWriter(
        columns=columns, out=str(tmp_path / "theirs"), hashes=["sha256"], size_limit=1500
    ) as theirs:
        for sample in values:
            theirs.write({"tokens": sample})
    expected = json.loads((tmp_path / "theirs" / "index.json").read_text())["shards"]
    assert len(files) == len(expected)
    for number, (file, entry) in enumerate(zip(files, expected, strict=True)):
        assert file.name == f"shard.00000.{number:05}.mds"
        content = (tmp_path / "ours" / file.name).read_bytes()
        assert content == (tmp_path / "theirs" / entry["raw_data"]["basename"]).read_bytes()
        entry["raw_data"]["basename"] = file.name
        assert shard_format.index_entry(file) == entry
        assert header_problem(content, entry=entry) is None


def test_how_samples_arrive_does_not_change_the_bytes(tmp_path):
    values = np.arange(600, dtype=np.uint16).reshape(-1, 6)
    shard_format = ShardFormat(seq_len=6, dtype="uint16", shard_bytes=600)
    one = written(tmp_path / "one", values, shard_format=shard_format, calls=1)
    many = written(tmp_path / "many", values, shard_format=shard_format, calls=17)
    assert one == many
    assert len(one) > 1


def test_no_samples_make_no_file(tmp_path):
    shard_format = ShardFormat(seq_len=6, dtype="uint16", shard_bytes=600)
    assert written(tmp_path / "none", np.empty((0, 6), np.uint16), shard_format=shard_format) == ()
    assert list((tmp_path / "none").iterdir()) == []


def test_a_shard_too_small_for_a_sample_is_refused():
    with pytest.raises(InputError, match=r"--shard-bytes is 1,000, expected 1,[0-9]{3} to .*512 tokens"):
        ShardFormat(seq_len=512, dtype="uint16", shard_bytes=1000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:5], "too few for an MDS header"),
        (lambda content: content[:20], "header is cut off"),
        (lambda content: b"\x09" + content[1:], "the header says 9 samples, but the index says 10"),
        (lambda content: content[:8] + b"\xff" + content[9:], "samples of"),
        (lambda content: content.replace(b'"format"', b'"farmat"'), "differ in farmat"),
        (lambda content: content.replace(b'"format":', b'"format" '), "is not JSON"),
    ],
)
def test_a_damaged_header_is_named(tmp_path, change, message):
    shard_format = ShardFormat(seq_len=4, dtype="uint16", shard_bytes=1000)
    (file,) = written(tmp_path / "a", np.zeros((10, 4), np.uint16), shard_format=shard_format)
    content = change((tmp_path / "a" / file.name).read_bytes())
    assert message in header_problem(content, entry=shard_format.index_entry(file))

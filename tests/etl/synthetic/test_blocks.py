"""Blocks say what they are, wherever their file goes."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmix.etl.synthetic.blocks import (
    METADATA_KEY,
    BlockFacts,
    BlockFile,
    block_facts,
    block_name,
    finished_blocks,
    read_blocks,
    require_facts,
    total_facts,
    write_block,
)
from dmix.etl.synthetic.generation import GeneratedDocument
from dmix.warehouse_schema.errors import InputError

FACTS = BlockFacts(
    model="m",
    digest="0123456789abcdef",
    seed=0,
    max_tokens=64,
    quality="none",
    first=0,
    stop=4,
    generated=4,
    kept=2,
    empty=1,
    capped=1,
    tokens=40,
    tokens_kept=30,
)


def document(index):
    return GeneratedDocument(index=index, text=f"text {index}", tokens=15, ended=True)


@pytest.fixture
def folder(tmp_path):
    write_block(tmp_path / block_name(0), [document(0), document(2)], FACTS)
    write_block(tmp_path / block_name(1), [], replace(FACTS, first=4, stop=8, kept=0, tokens_kept=0))
    return tmp_path


def test_facts_come_back_from_the_file(folder):
    assert block_facts(folder / block_name(0)) == require_facts(folder / block_name(0)) == FACTS
    assert FACTS.share_kept == 0.5 and replace(FACTS, generated=0, kept=0).share_kept == 0.0


def test_the_same_block_has_the_same_bytes(folder, tmp_path):
    write_block(tmp_path / "again.parquet", [document(0), document(2)], FACTS)
    first, second = (BlockFile.of(tmp_path / name) for name in (block_name(0), "again.parquet"))
    assert first.sha256 == second.sha256 and first.documents == 2


def test_documents_follow_each_other_and_have_ids_of_the_generation(folder):
    found = read_blocks(folder, finished_blocks(folder))
    assert found.column("id").to_pylist() == ["0123456789ab-0", "0123456789ab-2"]
    assert found.column("probability_low").null_count == 2
    assert read_blocks(folder, []).num_rows == 0


def test_only_names_of_blocks_count_in_order(folder):
    for name in ("block-1.parquet", "block-00000010.parquet", "block-00000002.parquet.tmp"):
        (folder / name).touch()
    assert finished_blocks(folder) == [0, 1, 10]


def test_several_blocks_count_as_one_generation(folder):
    total = total_facts([require_facts(folder / block_name(number)) for number in (1, 0)])
    assert (total.first, total.stop, total.generated, total.kept, total.tokens_kept) == (0, 8, 8, 2, 30)


def test_other_files_are_no_blocks_and_newer_ones_are_named(tmp_path):
    (tmp_path / "text").write_text("no parquet")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "other.parquet")
    for name in ("text", "other.parquet", "gone"):
        assert block_facts(tmp_path / name) is None
        with pytest.raises(InputError, match="is not a block of documents"):
            require_facts(tmp_path / name)
    note = {METADATA_KEY: json.dumps({"format": 2})}
    pq.write_table(pa.table({"text": ["a"]}).replace_schema_metadata(note), tmp_path / "newer.parquet")
    with pytest.raises(InputError, match="has format 2, but this dmix reads 1"):
        block_facts(tmp_path / "newer.parquet")

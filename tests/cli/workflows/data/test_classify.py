"""Records without the text column are named by file, with the columns that they have."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from dmix.cli.main import run


def test_files_without_the_text_column_are_named_with_their_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    good = {"text": "some words", "topic": "News"}
    other = {"body": "some words", "topic": "News"}
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (good, other, other)))
    pq.write_table(
        pa.table({"text": ["one", None], "content": ["x", "y"], "topic": ["News"] * 2}), "t.parquet"
    )
    (tmp_path / "target.jsonl").write_text(json.dumps(good) + "\n")
    command = [
        "etl",
        "classify",
        "--classifier",
        "column:topic",
        "--taxonomy",
        "from-data",
        "--warehouse",
        "w",
    ]
    assert run([*command, "--source", "mixed.jsonl", "t.parquet", "--target", "target.jsonl"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "no text in column" in line]
    assert "2 records of mixed.jsonl" in lines[0]
    assert "columns body, topic;" in lines[0] and "--template first:text,body" in lines[0]
    assert "1 record of t.parquet" in lines[1]
    assert "columns content, topic;" in lines[1]
    assert len(lines) == 2

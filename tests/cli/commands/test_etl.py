import gzip
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dmix.cli.commands.etl import ManyPaths, classify
from dmix.cli.main import run
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_corpus_version

pytestmark = pytest.mark.long
COLUMN = ["--classifier", "column:topic", "--taxonomy", "from-data"]
DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Two fields in the current folder: 3 source documents and a bad line, 2 target documents."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DMIX_WAREHOUSE", raising=False)
    monkeypatch.delenv("DMIX_MASTER", raising=False)
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.jsonl").write_text(
        '{"text": "one", "topic": "News"}\n{"text": "two", "topic": "Games"}\nnonsense\n'
    )
    (tmp_path / "books" / "b.jsonl").write_text('{"text": "three", "topic": "News"}\n')
    (tmp_path / "books" / "notes.csv").write_text("left out")
    (tmp_path / "papers").mkdir()
    for name in ("x", "y"):
        line = json.dumps({"text": f"paper {name}", "topic": "Science"}).encode()
        (tmp_path / "papers" / f"{name}.jsonl.gz").write_bytes(gzip.compress(line))
    return tmp_path


def test_corpora_are_shown_and_in_the_catalog(inputs, capsys):
    papers = ["papers/x.jsonl.gz", "papers/y.jsonl.gz"]
    arguments = ["etl", "classify", "--source", "books/", "--target", *papers, "--warehouse", "w"]
    assert run([*arguments, *COLUMN]) == 0
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines() if "│" in line] == [
        "Games",
        "News",
        "Science",
        "main-source",
    ]
    assert "malformed_json" in shown.out
    assert "main-source, version 1: 3 documents, 1 rejected\n" in shown.err
    assert "1 document rejected, malformed_json: the line is not JSON (correct the line" in shown.err
    assert "to list the rejects: dmix sql --warehouse " in shown.err and "corpus = 'main-source'" in shown.err
    assert "next, make training samples: dmix etl shard --warehouse " in shown.err
    assert "main-source: files left out: .csv 1" in shown.err
    with Catalog.open_reader(Warehouse.at("w")) as catalog:
        _, rows = catalog.query(
            "select corpus, version, field, documents, rejected from corpora order by corpus"
        )
        assert rows == [("main-source", 1, "source", 3, 1), ("main-target", 1, "target", 2, 0)]
        assert catalog.query("select path, position, reason from rejects")[1] == [
            ("a.jsonl", 3, "malformed_json")
        ]
        labels = catalog.query("select domain from domains order by domain_index")[1]
        assert labels == [("Games",), ("News",), ("Science",)]


def test_json_is_one_document_on_stdout(inputs, capsys):
    assert run(["etl", "classify", "--source", "books", "--name", "n", "--json", *COLUMN]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["domains"] == {"Games": 1, "News": 2}
    assert found["rejects"] == {"malformed_json": 1}
    assert (found["corpus"], found["published"], found["parts_made"]) == ("n-source", True, 1)
    assert run(["etl", "classify", "--source", "books", "--name", "n", "--json", *COLUMN]) == 0
    (again,) = json.loads(capsys.readouterr().out)
    assert (again["version"], again["published"], again["parts_kept"]) == (1, False, 1)


def test_samples_of_a_length_make_a_dataset_in_the_same_call(inputs, capsys):
    of = ["--warehouse", "w", "--json", *COLUMN]
    assert run(["etl", "classify", "--source", "books", *of]) == 0
    capsys.readouterr()
    assert run(["etl", "classify", "--target", "papers", "--seq-len", "4", *of]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [corpus["corpus"] for corpus in found["corpora"]] == ["main-source", "main-target"]
    assert found["dataset"]["seq_len"] == 4
    fields = {domain["field"] for domain in found["dataset"]["domains"]}
    assert fields == {"source", "target"}
    with Catalog.open_reader(Warehouse.at("w")) as catalog:
        assert catalog.query("select dataset from datasets")[1] == [(found["dataset"]["dataset"],)]


def test_dry_run_shows_the_work_and_writes_nothing(inputs, capsys):
    arguments = ["etl", "classify", "--source", "books", "papers", "--dry-run", *COLUMN]
    assert run([*arguments, "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)
    assert (plan["files"], plan["parts_to_do"], plan["parts_kept"]) == (4, 1, 0)
    assert plan["formats"] == {"jsonl": 2, "jsonl+gzip": 2}
    assert plan["skipped"] == {".csv": 1}
    assert run(arguments) == 0
    assert "2 jsonl, 2 jsonl+gzip" in capsys.readouterr().out
    assert not (inputs / "warehouse").exists()


def test_config_file_names_the_same_options(inputs, capsys):
    (inputs / "job.yaml").write_text(
        "source: [books]\nclassifier: column:topic\ntaxonomy: from-data\nname: y\n"
    )
    assert run(["etl", "classify", "--config", "job.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["corpus"] == "y-source"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "with --source and --target"),
        (["--source", "nowhere"], "input nowhere does not exist"),
        (["--source", "books/notes.csv"], "ending that dmix does not read"),
        (["--source", "books", "--max-document-bytes", "0"], "--max-document-bytes is 0, expected 1 to"),
        (
            ["--source", "books", "--classifier", "colum:x"],
            "use embedded, nvidia, nvidia:PATH, column:NAME",
        ),
        (["--source", "books", "--name", "a b"], "corpus name 'a b' cannot be a folder"),
        (["--source", "books", "--id-column", ""], "id_column is empty"),
    ],
)
def test_bad_use_is_one_message_and_exit_code_2(inputs, capsys, arguments, message):
    assert run(["etl", "classify", *COLUMN, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_several_paths_follow_one_option():
    arguments = ["--source", "a", "b", "--target", "c", "--name", "n", "--source", "d", "--json"]
    context = classify.make_context("classify", list(arguments))
    assert isinstance(classify, ManyPaths)
    assert context.params["source"] == ("a", "b", "d")
    assert context.params["target"] == ("c",)
    assert (context.params["name"], context.params["as_json"]) == ("n", True)


def test_example_of_the_help_runs(inputs):
    words = classify.help.rsplit("Example: ", 1)[1].split()
    assert words[0] == "dmix"
    at = words.index("papers/*.jsonl.gz")  # the shell's work
    words[at : at + 1] = ["papers/x.jsonl.gz", "papers/y.jsonl.gz"]
    assert run([*words[1:], *COLUMN]) == 0


def test_the_worked_example_of_chat_records(tmp_path, monkeypatch, capsys):
    """The documents and rejects are those that the page shows."""
    page = (DOCS / "guide" / "chat-records.md").read_text(encoding="utf-8")
    records, text = (re.search(rf"```{kind}\n(.*?)```", page, re.S)[1] for kind in ("json", "text"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DMIX_MASTER", raising=False)
    (tmp_path / "chats.jsonl").write_text(records)
    command = ["etl", "classify", "--target", "chats.jsonl", "--name", "chats", "--warehouse", "w"]
    assert run([*command, "--template", "chat"]) == 0
    warehouse = Warehouse.at("w")
    version = read_corpus_version(warehouse, "chats-target")
    files = [
        warehouse.labels("chats-target") / "parts" / part.fingerprint / file.name
        for part in version.parts
        for file in part.files
    ]
    rows = sorted((row["id"], row["text"]) for file in files for row in pq.read_table(file).to_pylist())
    assert rows == [("a", text.strip()), ("c", "User: Add 1 and 2.\n\nAssistant: 3")]
    with Catalog.open_reader(warehouse) as catalog:
        [reject] = catalog.query("select position, reason, detail from rejects")[1]
    assert reject == (2, "unknown_role", "message 1 of 'messages' has the role 'narrator'")
    capsys.readouterr()
    assert run([*command, "--template", "chat"]) == 0
    assert "unchanged" in capsys.readouterr().err
    assert run([*command, "--add", "--template", "instruction"]) == 2
    assert run(command) == 2
    assert "--template chat" in capsys.readouterr().err

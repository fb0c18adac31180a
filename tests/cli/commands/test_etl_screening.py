"""`dmix etl duplicates`, `contamination` and `shard --environment` as a user types them."""

import json
from pathlib import Path

import pytest
from tests.etl import conftest as _etl

from dmix.cli.commands.etl_screening import contamination, duplicates
from dmix.cli.main import run
from dmix.cli.workflows.data.kept_out import evaluation_items
from dmix.warehouse_schema.files.layout import Warehouse

ITEM = _etl.words(7, 20)


@pytest.fixture
def folder(tmp_path, monkeypatch, spark):
    """The current folder: a warehouse with a copy and a planted item, and an environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DMIX_WAREHOUSE", raising=False)
    warehouse = Warehouse.at(tmp_path / "warehouse")
    source = [("News", _etl.words(i, 40)) for i in range(6)] + [("Games", f"so {ITEM} it is")]
    target = [("News", _etl.words(2, 40).upper()), ("Games", _etl.words(90, 40))]
    _etl.write_corpus(warehouse, "main-source", "source", [source])
    _etl.write_corpus(warehouse, "main-target", "target", [target])
    items = [{"id": f"i{n}", "question": q, "answer": "a"} for n, q in enumerate(["what is it", ITEM])]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (tmp_path / "environment.yaml").write_text(
        "objectives:\n  - {name: math, role: target, kind: qa, path: items.jsonl, limit: 1}\n"
    )
    return tmp_path


def test_what_is_found_is_shown_and_left_out_by_shard(folder, capsys):
    # the planted item, the too short one, and a copy of a text of the source in the target
    words = duplicates.help.rsplit("Example: dmix ", 1)[1].split()
    assert run([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label_files_to_read"] == 2
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["documents"], found["found"]) == (9, 1)
    assert found["counts"] == [{"corpus": "main-target", "first_corpus": "main-source", "documents": 1}]
    words = contamination.help.rsplit("Example: dmix ", 1)[1].split()
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["found"], found["items"], found["items_too_short"]) == (1, 2, 1)
    assert found["counts"][0]["objective"] == "math"
    arguments = ["etl", "shard", "--seq-len", "16", "--drop-duplicates", "--environment", "environment.yaml"]
    assert run([*arguments, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert sum(domain["documents"] for domain in made["domains"]) == 9 - 2
    assert run(words) == 0
    shown = capsys.readouterr()
    assert "main-source" in shown.out
    assert "1 of 9 documents contain" in shown.err and "dmix sql" in shown.err
    assert run(["etl", "duplicates", "--dry-run"]) == 0
    assert "0 label files" in capsys.readouterr().err


def test_all_items_of_the_files_count_whatever_the_limit(folder):
    assert [item.item_id for item in evaluation_items([Path("environment.yaml")])] == ["i0", "i1"]
    assert evaluation_items([]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("duplicates", "--corpus", "nope"), "corpus 'nope' is not in"),
        (("contamination", "--environment", "nowhere.yaml"), "nowhere.yaml does not exist"),
        (("shard", "--environment", "nowhere.yaml"), "nowhere.yaml does not exist"),
        (("shard", "--contaminated", "perhaps"), "'perhaps' is not one of"),
    ],
)
def test_bad_use_is_one_message_and_exit_code_2(folder, capsys, arguments, message):
    assert run(["etl", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error

import json

import numpy as np
import pytest
from tests.etl import conftest as _etl

from dmix.cli.commands.etl_distil import distil
from dmix.cli.main import run
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a warehouse of 600 labelled documents."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DMIX_WAREHOUSE", raising=False)
    rng = np.random.default_rng(0)
    topics = {"Games": ["dragon", "wizard", "sword"], "News": ["minister", "treaty", "vote"]}
    documents = [
        (label, " ".join([*rng.choice([f"w{i}" for i in range(300)], 20), *rng.choice(words, 4)]))
        for label, words in topics.items()
        for _ in range(300)
    ]
    warehouse = Warehouse.at(tmp_path / "warehouse")
    _etl.write_corpus(warehouse, "main-source", "source", [documents[::2]])
    _etl.write_corpus(warehouse, "main-target", "target", [documents[1::2]])
    return tmp_path


def test_agreement_is_shown_and_the_classifier_is_there(folder, capsys):
    words = distil.help.rsplit("Example: dmix ", 1)[1].split()
    assert run([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == {"Games": 300, "News": 300}
    assert not (folder / "warehouse" / "classifiers").exists()
    assert run(words) == 0
    shown = capsys.readouterr()
    assert "agreement with column:label" in shown.out
    assert "--classifier distilled:fast" in shown.err
    assert run([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["agreement"] > 0.9
    assert [row["margin"] for row in report["margins"]][:2] == [0.0, 0.05]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name", "a b"), "classifier name 'a b' cannot be a folder"),
        (("--name", "x", "--documents-per-label", "1"), "--documents-per-label is 1, expected at least 10"),
        (("--name", "x", "--corpus", "main-source", "--documents-per-label", "20"), "expected at least 500"),
        ((), "Missing option '--name'"),
    ],
)
def test_bad_use_is_one_message_and_exit_code_2(folder, capsys, arguments, message):
    assert run(["etl", "distil", *arguments]) == 2
    assert message in capsys.readouterr().err

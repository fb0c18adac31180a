"""Whether a dataset was made without the items of an environment."""

import json

import pytest
from tests.manifests import dataset_manifest

from dmix.cli.workflows.data.kept_out import check_kept_out, evaluation_items
from dmix.etl.screening.ngrams import items_digest
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import item_digest, write_dataset_manifest

LONG = " ".join(f"word{number}" for number in range(20))
QUESTIONS = (f"first {LONG}", f"second {LONG}", "too short")


@pytest.fixture
def environment(tmp_path):
    lines = [json.dumps({"id": str(n), "question": q, "answer": "a"}) for n, q in enumerate(QUESTIONS)]
    (tmp_path / "items.jsonl").write_text("\n".join(lines) + "\n")
    path = tmp_path / "environment.yaml"
    path.write_text("objectives:\n- {name: m, role: target, kind: qa, path: items.jsonl}\n")
    return path


@pytest.fixture
def check(tmp_path, environment):
    """Makes a dataset without these questions, and says what a check of it says."""

    def made(kept_out, *, allow=False, **settings):
        warehouse, lines = Warehouse.at(tmp_path / "w"), []
        digests = None if kept_out is None else tuple(item_digest(q, "a") for q in kept_out)
        write_dataset_manifest(warehouse, dataset_manifest([1, 1], kept_out=digests, settings=settings))
        check_kept_out(warehouse, None, environment, allow_unscreened=allow, progress=lines.append)
        return lines

    return made


def test_items_that_were_kept_out_and_short_ones_are_no_matter(check):
    assert check(QUESTIONS) == check(QUESTIONS[:2]) == []


def test_items_that_nobody_looked_for_are_refused_or_warned_of(check):
    with pytest.raises(InputError, match=r"1 of 3 items .*--allow-unscreened"):
        check(QUESTIONS[:1])
    (line,) = check(QUESTIONS[:1], allow=True)
    assert line.startswith("warning: ") and "1 of 3 items" in line


def test_a_dataset_of_an_older_dmix_is_only_warned_of(check, environment):
    (line,) = check(None)
    assert "an older dmix" in line and "2 items" in line
    assert check(None, contamination=items_digest(evaluation_items([environment]))) == []


def test_all_items_count_whatever_an_environment_asks_for(environment):
    text = environment.read_text()
    environment.write_text(text.replace("items.jsonl}", "items.jsonl, limit: 1}"))
    assert [item.question for item in evaluation_items([environment])] == list(QUESTIONS)
